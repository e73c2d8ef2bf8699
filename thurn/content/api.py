"""JSON API of content."""

from fastapi import APIRouter

router = APIRouter(tags=["content"])
