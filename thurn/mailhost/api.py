"""JSON API of mailhost."""

from fastapi import APIRouter

router = APIRouter(tags=["mailhost"])
