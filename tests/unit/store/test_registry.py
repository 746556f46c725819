from __future__ import annotations

import pytest

from celeriac.errors import SettingsError
from celeriac.store.registry import open_store


def test_a_parameter_that_libpq_does_not_know_is_a_setting_to_mend() -> None:
    with pytest.raises(SettingsError, match=r'broker_url: libpq cannot read it .*"scheme"') as refused:
        open_store("postgresql://shop:secret@db.invalid/shop?scheme=shop_tasks")
    assert "secret" not in str(refused.value)
