"""The base of providers' errors."""

from __future__ import annotations

import pickle

import pytest

from bigmachine.cloud import CloudError, network_advice


class TooMany(CloudError):
    def __init__(self, action: str, code: str, message: str, *, zone: str = "") -> None:
        super().__init__(action, code, message)
        self.zone = zone

    @property
    def is_quota(self) -> bool:
        return self.code == "QUOTA_EXCEEDED"


class Lost(CloudError):
    @property
    def leaves_outcome_unknown(self) -> bool:
        return True


def test_kinds_that_follow_from_others_need_no_override():
    error = TooMany("instances.insert", "QUOTA_EXCEEDED", "")
    assert error.is_shortage
    assert not error.is_temporary
    lost = Lost("instances.insert", "X", "")
    assert lost.is_outcome_unknown
    assert lost.is_temporary
    lost.is_outcome_unknown = False
    assert not lost.is_outcome_unknown
    plain = CloudError("instances.insert", "X", "")
    assert not any(getattr(plain, name) for name in dir(plain) if name.startswith("is_"))


def test_error_can_be_pickled_with_all_that_it_knows():
    error = TooMany("instances.insert", "QUOTA_EXCEEDED", "Quota 'CPUS' exceeded.", zone="b")
    error.is_outcome_unknown = True
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is TooMany
    assert vars(copy) == vars(error)
    assert str(copy) == str(error) == "instances.insert: QUOTA_EXCEEDED: Quota 'CPUS' exceeded."


def test_text_of_a_provider_is_harmless_on_a_terminal():
    assert str(CloudError("a", "", "\x1b]0;title\x07no\x1b[31m")) == "a: no"


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("SSLError", "", "Azure's certificate can't be verified: set the clock right"),
        ("X", "[SSL: CERTIFICATE_VERIFY_FAILED]", "Azure's certificate can't be verified"),
        ("ProxyError", "", "the proxy can't be used: correct HTTPS_PROXY"),
        ("InvalidResponse", "", "something on the way answers in Azure's place"),
        ("ReadTimeout", "", "Azure does not answer"),
        ("ConnectionError", "", "Azure can't be reached"),
    ],
)
def test_advice_about_the_network_depends_on_what_failed(code, message, advice):
    assert network_advice(CloudError("get", code, message), "Azure").startswith(advice)
