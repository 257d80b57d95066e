"""One value or a list of values: how every axis and option of a suite is written."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


class Many:
    """Reads a single value as a list of one; in the JSON Schema, one value or a list of them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        array = handler(schema)
        return {"anyOf": [array["items"], array]}

    def __hash__(self) -> int:
        return hash(type(self))


def as_list(value: Any) -> list[Any]:
    """Return the value itself if it is a list, else a list of it."""
    return value if isinstance(value, list) else [value]


OneOrMany = Annotated[list[T], Field(min_length=1), Many()]
