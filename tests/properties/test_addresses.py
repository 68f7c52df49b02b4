"""Any text may stand in REDIS_URL: nothing breaks over it, and no password is shown."""

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from supervisor.addresses import has_known_scheme, passwords_in, without_password
from supervisor.streams.inspect import is_url
from supervisor.streams.seeds import seeds_of

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
# What does not stand in the rest of the addresses below.
PASSWORDS = st.text(alphabet="QXZ@:/?#%&= ,[]{}ö\\", min_size=4, max_size=12).filter(
    lambda text: sum(sign in "QXZ" for sign in text) > 2
)
FORMS = st.sampled_from(
    [
        "{scheme}://:{password}@host:1/main",
        "{scheme}://user:{password}@one:1,two:2,[::1]:3/main/0?protocol=2",
        "{scheme}://host/main?password={password}",
        "{scheme}://host/main?db=0&sentinel_password={password}&protocol=3",
        "{scheme}://user:{password}@host/main?sentinel_password={password}",
        "{scheme}:///run/redis.sock?password={password}",
    ]
)


@given(st.sampled_from(SCHEMES), st.text(max_size=40), st.sampled_from(["", "{p}:requests"]))
def test_whatever_follows_the_scheme_it_is_an_address_or_none(scheme, text, key):
    url = f"{scheme}://{text}"

    assert is_url(url, key) in (True, False)
    assert isinstance(passwords_in(url), list)
    assert isinstance(has_known_scheme(url), bool)


@given(st.sampled_from(SCHEMES), FORMS, PASSWORDS)
def test_a_password_is_found_and_is_not_shown(scheme, form, password):
    url = form.format(scheme=scheme, password=quote(password, safe=""))

    assert password in passwords_in(url)
    shown = without_password(url)
    assert password not in shown
    assert quote(password, safe="") not in shown


@given(FORMS, PASSWORDS)
def test_a_password_that_is_not_quoted_as_it_should_be_is_not_shown_either(form, password):
    """But for & and #, which end what they stand in: nobody can know what was meant."""
    raw = password.replace("&", "").replace("#", "")
    shown = without_password(form.format(scheme="redis+sentinel", password=raw))

    assert raw not in shown


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z][a-z0-9.-]{0,9}", fullmatch=True), st.integers(1, 65535)),
        min_size=1,
        max_size=5,
    )
)
def test_all_hosts_of_an_address_are_seeds_in_their_order(hosts):
    text = ",".join(f"{host}:{port}" for host, port in hosts)

    assert seeds_of(f"redis+cluster://u:p@{text}").hosts == tuple(hosts)
    assert seeds_of(f"redis+sentinel://{text}/main/1").hosts == tuple(hosts)
