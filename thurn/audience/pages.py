"""Pages of audience."""

from fastapi import APIRouter

router = APIRouter()
