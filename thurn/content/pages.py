"""Pages of content."""

from fastapi import APIRouter

router = APIRouter()
