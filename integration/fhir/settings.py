"""The sections `[http]`, `[sources]`, and `[destinations]` of the kind `fhir`: FHIR in and out."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AwareDatetime, Field, SecretStr, StringConstraints, model_validator

from integration.sections import Section, is_loopback

Query = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]+(\?\S+)?$", max_length=500)]

RolesClaim = Annotated[str, StringConstraints(pattern=r"^[\w-]+(\.[\w-]+)*$", max_length=200)]
ROLES_CLAIM = Field(
    None,
    description="claim with roles (viewer, operator, admin), beside the scopes; with dots where it "
    "lies deeper; unset: roles give nothing",
)


class JwtSettings(Section):
    """Bearer tokens that their issuer signed."""

    issuer: str = Field(min_length=1, description="`iss` of every token")
    audience: str = Field(min_length=1, description="has to be in `aud`")
    jwks: str = Field(min_length=1, description="URL or file of the issuer's public keys")
    roles_claim: RolesClaim | None = ROLES_CLAIM


class IntrospectionSettings(Section):
    """Bearer tokens of which their issuer is asked (RFC 7662)."""

    url: str = Field(pattern=r"^https?://", description="introspection endpoint")
    client_id: str = Field(min_length=1, description="our name there")
    client_secret: SecretStr = Field(description="our secret there")
    cache_s: float = Field(
        60.0, ge=0, description="how long an answer is believed; so long lives a withdrawn token"
    )
    roles_claim: RolesClaim | None = ROLES_CLAIM


class HttpSettings(Section):
    """The FHIR interface and the health checks."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65_535, description="port; 0 takes a free one")
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="bearer token that may do everything below /fhir",
    )
    jwt: JwtSettings | None = Field(
        None, description="signed tokens, which may what their scopes say"
    )
    introspection: IntrospectionSettings | None = Field(None, description="likewise opaque tokens")
    max_body_bytes: int = Field(
        16 * 2**20,
        ge=2**16,
        le=2**28,
        description="larger bodies are refused; an Observation of 10 s at 500 Hz has about 200 kB",
    )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def asks_for_tokens(self) -> bool:
        """Whether who asks has to show who they are; off on loopback alone."""
        return any((self.token, self.jwt, self.introspection))


class SmartSettings(Section):
    """SMART Backend Services: tokens for what we sign with our own keys (`hisbundle keys new`)."""

    client_id: str = Field(min_length=1, description="who we are at the server")
    scope: str = Field("system/*.cruds", min_length=1, description="what we ask for")
    token_url: str | None = Field(
        None, pattern=r"^https?://[^/]", description="by default what the server itself tells"
    )


class FhirServerSettings(Section):
    """A FHIR server and how we show who we are."""

    base_url: str = Field(pattern=r"^https?://[^/]", description="base URL")
    token: SecretStr | None = Field(None, description="bearer token")
    smart: SmartSettings | None = Field(None, description="without it: the token, or none")

    @model_validator(mode="after")
    def _one_kind_of_token(self) -> Self:
        if self.token is not None and self.smart is not None:
            raise ValueError("give token or smart, not both")
        return self

    @property
    def plaintext_host(self) -> str | None:
        """Whom patients' data reaches unencrypted, if anybody."""
        url = urlsplit(self.base_url)
        return (url.hostname or "") if url.scheme == "http" else None


class SourceSettings(FhirServerSettings):
    """A FHIR server that ECGs are read from."""

    queries: tuple[Query, ...] = Field(
        ("Observation?code=http://loinc.org|11524-6,urn:iso:std:iso:11073:10101|131328",),
        min_length=1,
        description="searches that find ECGs, or our reports as decided there; _lastUpdated, "
        "_sort and _count are added",
    )
    since: AwareDatetime | None = Field(
        None, description="where the first reading begins; unset: with itself"
    )
    interval_s: float = Field(60.0, ge=1, description="from a reading's end to the next")
    overlap_s: float = Field(
        300.0, ge=0, description="how far each reading goes back, for what became visible late"
    )
    settle_s: float = Field(
        5.0, ge=0, description="what changed less than this ago waits: it may be half an ECG"
    )
    timeout_s: float = Field(30.0, gt=0, le=60, description="for one request")
    notify_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="bearer token that its subscriptions show at /fhir/notify/NAME",
    )
    heartbeat_s: float | None = Field(
        None, gt=0, description="a subscription that is silent for longer is told in the log"
    )


class FhirDestinationSettings(FhirServerSettings):
    """A FHIR server that reports are posted to."""

    kind: Literal["fhir"] = Field(description="what the destination speaks")
    preset: Literal["r4", "millennium"] = Field(
        "r4", description="whose rules apply: a plain R4 server's, Oracle Health (Millennium)'s"
    )
    style: Literal["transaction", "single", "report", "document"] | None = Field(
        None,
        description="one transaction; each resource by itself; the DiagnosticReport alone as "
        "Millennium takes it; a DocumentReference alone. By default the preset's: transaction, "
        "report",
    )
    patient_systems: dict[str, str] = Field(
        {},
        description="assigning authority as senders name it -> its URI at this server; for report "
        "and document, whose patient is looked up there",
    )
    results_interpreter: str | None = Field(
        None,
        pattern=r"^Practitioner/[A-Za-z0-9.-]{1,64}$",
        description="in whose name Millennium charts a report, without a default user",
    )
    timeout_s: float = Field(30.0, gt=0, description="for one request")

    @property
    def sent_as(self) -> str:
        """The style in force."""
        return self.style or {"r4": "transaction", "millennium": "report"}[self.preset]
