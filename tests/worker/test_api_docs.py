"""docs/api.md is what the request classes say."""

import pytest

from scripts.api_docs import PAGE, page
from worker.operations import load_operations


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m scripts.api_docs"


@pytest.mark.parametrize("name", load_operations())
def test_every_field_says_what_it_is(name):
    fields = load_operations()[name].request.model_fields
    assert [field for field, about in fields.items() if not about.description] == []
