"""JSON API of audience."""

from fastapi import APIRouter

router = APIRouter(tags=["audience"])
