"""JSON API of campaigns."""

from fastapi import APIRouter

router = APIRouter(tags=["campaigns"])
