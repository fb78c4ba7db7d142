"""One program in many languages and builds: our crashing thread beside gdb's and eu-stack's.

docs/unwinding.md has the verdicts; here they are measured again.
"""

from __future__ import annotations

import pytest
from tests.support.corpus_document import measure, reason_of, table, written
from tests.support.corpus_reasons import REASONS
from tests.support.corpus_run import DIFFERS, EQUAL

pytestmark = pytest.mark.usefixtures("needs_kernel")


def test_every_build_of_the_corpus() -> None:
    verdicts = measure()
    for verdict in verdicts:
        if verdict.word == EQUAL:
            continue
        reason = reason_of(verdict, REASONS)
        who = f"{verdict.recipe.id} beside {verdict.oracle}: {verdict}"
        assert reason is not None, f"unexplained: {who}"
        assert "scope" not in verdict.kinds, f"names without what is around them: {who}"
        assert reason.word == verdict.word or verdict.word == DIFFERS, who
    assert "\n".join(table(verdicts, REASONS)).strip() == written().strip()
