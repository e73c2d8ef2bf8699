"""Pages of mailhost."""

from fastapi import APIRouter

router = APIRouter()
