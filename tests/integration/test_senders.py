from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest

from integration.config import Settings
from integration.errors import ANSWERS, ConfigError, Refused
from integration.hl7v2.header import parse_header
from integration.hl7v2.modes import AckMode
from integration.hl7v2.settings import MllpSettings, SenderSettings, TlsSettings
from integration.senders import DENIED, Peer, senders_of

NEAR, FAR = Peer("10.20.3.4"), Peer("192.0.2.1")


def header(application="CART-7", facility="ED"):
    return parse_header(f"MSH|^~\\&|{application}|{facility}|||2026||ADT^A01|1|P|2.5\r".encode())


def table(allow_unknown=False, **entries):
    tls = TlsSettings(certificate="c", key="k", client_ca="a")
    settings = Settings(
        senders={name: SenderSettings(**entry) for name, entry in entries.items()},
        mllp=MllpSettings(tls=tls),
        allow_unknown_senders=allow_unknown,
        default_charset="utf-8",
        time_zone="Europe/Vienna",
    )
    return senders_of(settings)


def refused(senders, head, peer):
    with pytest.raises(Refused) as caught:
        senders.resolve(head, peer)
    assert caught.value.location == ("MSH", 1, 3)
    return caught.value.reason


@pytest.mark.parametrize(
    ("entry", "head", "peer"),
    [
        ({"applications": ["CART-*"]}, header(), FAR),
        ({"applications": ["MUSE", "CART-?"]}, header(), FAR),
        ({"facilities": ["ED"]}, header(), FAR),
        ({"applications": ["CART-7"], "facilities": ["ED"]}, header("CART-7^1.2.3^ISO"), FAR),
        ({"applications": [""], "facilities": ["ED"]}, header(""), FAR),
        ({"networks": ["10.20.0.0/16"]}, header("ANY", ""), NEAR),
        ({"networks": ["2001:db8::/32", "10.20.0.0/16"]}, header(), NEAR),
        ({"networks": ["10.20.0.0/16"]}, header(), Peer("::ffff:10.20.3.4")),
        ({"networks": ["2001:db8::/32"]}, header(), Peer("2001:db8::7")),
        ({"certificates": ["*.carts.example"]}, header(), Peer("::1", {"C7.carts.EXAMPLE"})),
        ({"certificates": ["cart 7"]}, header(), Peer("::1", {"other", "CART 7"})),
    ],
)
def test_a_sender_is_known_by_all_that_its_entry_gives(entry, head, peer):
    assert table(cart=entry).resolve(head, peer).name == "cart"


@pytest.mark.parametrize(
    ("entry", "head", "peer", "reason"),
    [
        ({"applications": ["CART-*"]}, header("cart-7"), NEAR, "unknown-sender"),
        ({"applications": ["CART"]}, header(), NEAR, "unknown-sender"),
        ({"applications": ["CART-*"], "facilities": ["ICU"]}, header(), NEAR, "unknown-sender"),
        ({"facilities": ["ED"], "networks": ["10.20.0.0/16"]}, header(), FAR, "sender-not-allowed"),
        ({"networks": ["2001:db8::/32"]}, header(), NEAR, "sender-not-allowed"),
        ({"certificates": ["cart7"]}, header(), NEAR, "sender-not-allowed"),
        ({"certificates": ["cart7"]}, header(), Peer("::1", {"cart77"}), "sender-not-allowed"),
        (
            {"networks": ["10.20.0.0/16"], "certificates": ["cart7"]},
            header(),
            Peer("192.0.2.1", {"cart7"}),
            "sender-not-allowed",
        ),
    ],
)
def test_what_does_not_fit_is_refused(entry, head, peer, reason):
    assert refused(table(cart=entry), head, peer) == reason


def test_the_first_entry_that_fits_counts():
    senders = table(
        near={"applications": ["CART-*"], "networks": ["10.20.0.0/16"]},
        rest={"applications": ["*"]},
    )
    assert senders.resolve(header(), NEAR).name == "near"
    assert senders.resolve(header(), FAR).name == "rest"
    assert senders.resolve(header("MUSE"), NEAR).name == "rest"


def test_an_entry_says_how_its_messages_are_read():
    senders = table(
        plain={"applications": ["A"]},
        special={
            "applications": ["B"],
            "time_zone": "America/New_York",
            "default_charset": "iso8859-1",
            "acknowledge": "enhanced",
        },
    )
    plain = senders.resolve(header("A"), NEAR)
    assert (plain.default_charset, plain.zone) == ("utf-8", ZoneInfo("Europe/Vienna"))
    assert plain.ack_mode is AckMode.AUTO
    special = senders.resolve(header("B"), NEAR)
    assert (special.default_charset, special.zone) == ("iso8859-1", ZoneInfo("America/New_York"))
    assert special.ack_mode is AckMode.ENHANCED


def test_strangers_may_be_let_in_but_never_under_a_known_name():
    senders = table(allow_unknown=True, cart={"facilities": ["ED"], "networks": ["10.20.0.0/16"]})
    assert senders.resolve(header(facility="ICU"), FAR) == senders.default
    assert refused(senders, header(), FAR) == "sender-not-allowed"


def test_without_a_table_the_embedded_default_takes_what_comes():
    senders = senders_of(Settings())
    assert senders.resolve(header(), NEAR) == senders.default


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"broker_url": "amqp://127.0.0.1//"},
        {"mllp": MllpSettings(host="0.0.0.0"), "allow_remote_plaintext": True},
    ],
)
def test_anywhere_else_somebody_has_to_say_who_may_send(elsewhere):
    with pytest.raises(ConfigError) as caught:
        senders_of(Settings(**elsewhere))
    assert caught.value.reason == "senders-missing"
    senders_of(Settings(**elsewhere, allow_unknown_senders=True))
    senders_of(Settings(**elsewhere, senders={"a": {"networks": [ip_network("10.0.0.0/8")]}}))


def test_a_denied_sender_is_told_never_to_come_again():
    assert {ANSWERS[reason].ack for reason in DENIED} == {"AR"}
