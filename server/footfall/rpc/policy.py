"""Who may call what, and what it costs: one row a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from footfall.accounts.model import ApplicationAccess, Scope
from footfall.rpc.costs import Cost, none, of_body, of_queries, one


class Allowance(Enum):
    """The rate limits."""

    #: The site's requests a minute, shared by all methods that read its figures and all callers.
    SITE = auto()
    #: The application's reads in ten seconds.
    APPLICATION_READS = auto()
    #: The workspace's requests a second.
    WORKSPACE = auto()
    #: The calls a minute that sign in and out, for one client address.
    AUTHENTICATION = auto()
    #: The account's requests in ten seconds and in a minute, both at once; for callers without
    #: credentials, those of PUBLIC.
    ACCOUNT = auto()
    #: The same, and the account's custom SQL queries a minute.
    ACCOUNT_SQL = auto()
    #: The calls a minute without credentials, for one client address.
    PUBLIC = auto()


@dataclass(frozen=True, slots=True)
class ApplicationKey:
    """`x-auth-user` and `x-auth-key`; the tenant is the application that they name."""

    access: ApplicationAccess


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A Bearer key with a scope; the tenant is the site that the message names."""

    scope: Scope
    #: Whether a caller without any credentials is let through as a browser.
    browsers: bool = False


@dataclass(frozen=True, slots=True)
class AccountAdmin:
    """A Bearer key with the admin scope, or the session of an admin; the tenant is the account
    that the caller belongs to.
    """

    #: Whether the sessions of all members are let through.
    members: bool = False


@dataclass(frozen=True, slots=True)
class SessionOrKey:
    """Any Bearer key or any session; a key counts where both are shown. The tenant is the account
    that the caller belongs to.
    """


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Any session; the tenant is the user's account."""


@dataclass(frozen=True, slots=True)
class SigningIn:
    """None; what the message or a session cookie holds is for the method to judge. There is no
    tenant yet.
    """


@dataclass(frozen=True, slots=True)
class WorkspaceKey:
    """`x-api-key`; the tenant is the workspace that the key belongs to."""


@dataclass(frozen=True, slots=True)
class AccountReader:
    """`x-api-key`, a Bearer key or a session; of several, the first of these counts. The tenant is
    the caller's account, as a Subscription.
    """


@dataclass(frozen=True, slots=True)
class WebsiteReader:
    """As AccountReader; the tenant is the site that the message names by its `website_id`. The
    key has the read scope on it, the session's user belongs to its account.
    """

    #: Whether a site that is marked public can be read by anybody, also without credentials. The
    #: principal is None then.
    public: bool = False


@dataclass(frozen=True, slots=True)
class WebsiteWriter:
    """`x-api-key` or a Bearer key with the write scope, or none: a browser. The tenants are the
    websites that the events of a JSON body name, by the name that each has there.
    """


@dataclass(frozen=True, slots=True)
class Anyone:
    """None, and none are looked at."""


Credentials = (
    ApplicationKey
    | SiteKey
    | WorkspaceKey
    | AccountAdmin
    | SessionOrKey
    | SignedIn
    | SigningIn
    | AccountReader
    | WebsiteReader
    | WebsiteWriter
    | Anyone
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a method asks of its callers."""

    credentials: Credentials
    allowance: Allowance | None = None
    #: Units of the allowance that a message costs; a call that costs none is never refused, and
    #: tells what is left.
    cost: Cost = one


_APPLICATION_WRITE = Policy(ApplicationKey(ApplicationAccess.WRITE))
_APPLICATION_READ = Policy(ApplicationKey(ApplicationAccess.READ), Allowance.APPLICATION_READS)
_SITE_READ = Policy(SiteKey(Scope.READ), Allowance.SITE)
_SITE_WRITE = Policy(SiteKey(Scope.WRITE))
_WORKSPACE_READ = Policy(WorkspaceKey(), Allowance.WORKSPACE)
_WORKSPACE_WRITE = Policy(WorkspaceKey())
_ACCOUNT_ADMIN = Policy(AccountAdmin())
_ACCOUNT_MEMBER = Policy(AccountAdmin(members=True))
#: For what is asked about websites: the typed call, its REST twin, and both of SQL.
_QUERIES = Policy(WebsiteReader(public=True), Allowance.ACCOUNT, of_queries)
_QUERIES_BODY = Policy(WebsiteReader(public=True), Allowance.ACCOUNT, of_body)
_CUSTOM_QUERY = Policy(WebsiteReader(), Allowance.ACCOUNT)
_CUSTOM_SQL = Policy(WebsiteReader(), Allowance.ACCOUNT_SQL)
_EXPORT = Policy(WebsiteReader(), Allowance.ACCOUNT)
_ACCOUNT_READ = Policy(AccountReader(), Allowance.ACCOUNT)
_PUBLIC = Policy(Anyone(), Allowance.PUBLIC)
_AUTHENTICATION = Policy(SigningIn(), Allowance.AUTHENTICATION)

#: Every method of footfall.v1, by its path without the package; one that is missing here cannot be
#: served.
POLICIES: Mapping[str, Policy] = {
    "IngestService/IngestApiRequests": _APPLICATION_WRITE,
    "IngestService/CollectApiRequests": _APPLICATION_WRITE,
    "IngestService/StreamApiRequests": _APPLICATION_WRITE,
    "IngestService/IngestWebEvents": _SITE_WRITE,
    "IngestService/CollectWebEvents": Policy(SiteKey(Scope.WRITE, browsers=True)),
    "IngestService/StreamWebEvents": _SITE_WRITE,
    "IngestService/TrackEvents": Policy(WebsiteWriter()),
    "IngestService/IngestWorkspaceEvents": _WORKSPACE_WRITE,
    "IngestService/CollectWorkspaceEvents": _WORKSPACE_WRITE,
    "IngestService/StreamWorkspaceEvents": _WORKSPACE_WRITE,
    "TimeseriesService/QueryTimeseries": _APPLICATION_READ,
    "TimeseriesService/GetTimeseries": _APPLICATION_READ,
    "ExportService/ExportApiRequests": _APPLICATION_READ,
    "ExportService/DownloadApiRequests": _APPLICATION_READ,
    "ExportService/ExportWebEvents": _EXPORT,
    "ExportService/DownloadWebEvents": _EXPORT,
    "RealtimeService/GetRealtime": _SITE_READ,
    "RealtimeService/GetSources": _SITE_READ,
    "RealtimeService/WatchRealtime": _SITE_READ,
    "RealtimeService/StreamRealtime": _SITE_READ,
    "ChartsService/GetOverview": _SITE_READ,
    "ChartsService/GetCharts": _SITE_READ,
    "ChartsService/GetEngagement": _SITE_READ,
    "PaceService/GetPace": _SITE_READ,
    "MetricsService/ListMetrics": _WORKSPACE_READ,
    "MetricsService/GetMetric": _WORKSPACE_READ,
    "MetricsService/GetMetricDocument": _WORKSPACE_READ,
    "AccountsService/CreateApplication": _ACCOUNT_ADMIN,
    "AccountsService/CreateKey": _ACCOUNT_ADMIN,
    "AccountsService/ListKeys": _ACCOUNT_ADMIN,
    "AccountsService/RotateKey": _ACCOUNT_ADMIN,
    "AccountsService/RevokeKey": _ACCOUNT_ADMIN,
    "AccountsService/CreateSite": _ACCOUNT_ADMIN,
    "AccountsService/ListSites": _ACCOUNT_MEMBER,
    "AccountsService/UpdateSite": _ACCOUNT_ADMIN,
    "AccountsService/DeleteSite": _ACCOUNT_ADMIN,
    "AccountsService/DeleteVisitor": _ACCOUNT_ADMIN,
    "AccountsService/CreateMember": _ACCOUNT_ADMIN,
    "AccountsService/ListMembers": _ACCOUNT_MEMBER,
    "AccountsService/UpdateMember": _ACCOUNT_ADMIN,
    "AccountsService/RemoveMember": _ACCOUNT_ADMIN,
    "SessionService/Login": _AUTHENTICATION,
    "SessionService/Refresh": _AUTHENTICATION,
    "SessionService/Logout": _AUTHENTICATION,
    "SessionService/GetMe": Policy(SessionOrKey()),
    "SessionService/SelectTracker": Policy(SignedIn()),
    "QueryService/RunQueries": _QUERIES,
    "QueryService/PostQuery": _QUERIES_BODY,
    "QueryService/ListQueryTypes": _PUBLIC,
    "QueryService/GetQueryTypes": _PUBLIC,
    "QueryService/ListWebsites": _ACCOUNT_READ,
    "QueryService/GetWebsites": _ACCOUNT_READ,
    "CustomQueryService/RunCustomQuery": _CUSTOM_QUERY,
    "CustomQueryService/PostCustomQuery": _CUSTOM_QUERY,
    "CustomQueryService/ExecuteSql": _CUSTOM_SQL,
    "CustomQueryService/PostSql": _CUSTOM_SQL,
    "CustomQueryService/ListViews": _PUBLIC,
    "CustomQueryService/GetSqlSchema": _PUBLIC,
    "UsageService/GetUsage": Policy(AccountReader(), Allowance.ACCOUNT, none),
    "StatusService/GetStatus": Policy(Anyone()),
}
