"""What every value that crosses processes has: a JSON form that newer versions may extend."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from agenthub.errors import MessageError


class Wire(BaseModel):
    """A value with a JSON form that newer versions may extend."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="null")

    def encode(self) -> bytes:
        """UTF-8 JSON without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()

    def having(self, **values: Any) -> Self:
        """The value with these fields, which are not checked; itself, if it has them: a copy costs as much as reading.

        A name that is no field is an extra one.
        """
        known = self.__dict__
        if all(name in known and known[name] == value for name, value in values.items()):
            return self
        return self.model_copy(update=values)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a value from UTF-8 JSON.

        Raises:
            MessageError: If `data` is not JSON or a field has the wrong type; says which and what was found.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise MessageError(_reason(cls.__name__.lower(), data, error)) from error


def _reason(what: str, data: bytes, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return (
            f"not JSON: {first['msg'].removeprefix('Invalid JSON: ')}; the {len(data)} bytes begin with {data[:40]!r}"
        )
    where = ".".join(str(part) for part in first["loc"]) or what
    found = repr(first["input"])
    return f"`{where}`: {first['msg']}; found {found if len(found) <= 80 else found[:77] + '...'}"
