package api

import "github.com/provosthq/provost/host/access"

// What routes ask for, in the words of the model where it has some.
var (
	signedIn = access.All()
	// view is to see how things are.
	view = access.All(access.ViewSetup)
	// manageRequests is the model's "manage provisioning requests".
	manageRequests = access.All(access.ViewSetup, access.ManageUsers)
	// configure is the model's "configure user provisioning".
	configure = access.All(access.ViewSetup, access.ManageUsers, access.CustomizeApplication)
	// manageApps is the model's "read, create, update, delete apps"; reading is view.
	manageApps = access.All(access.CustomizeApplication, access.ModifyAllData).Or(access.CustomizeApplication, access.ManageConnectedApps)
	// install is the model's "install packaged connectors".
	install = access.All(access.CustomizeApplication, access.ModifyAllData, access.DownloadPackages)
	// seeRequests is for those, too, who are to decide about some.
	seeRequests = view.Or(access.ApproveRequests)
	decide      = access.All(access.ApproveRequests)
	operate     = access.All(access.ViewSetup, access.OperateHost)
	// destroy is for what can't be had back.
	destroy = access.All(access.OperateHost, access.ModifyAllData)
	trail   = access.All(access.ViewAudit)
	// manageAccess is to see and to say who may do what.
	manageAccess = access.All(access.ManageAccess)
)

// Rules says of each route of the API who may call it. A route without a rule
// is not served.
var Rules = access.Rules{
	{Route: "GET /api/openapi.json", Need: signedIn},
	{Route: "GET /api/openapi.yaml", Need: signedIn},
	{Route: "GET /api/openapi-3.0.json", Need: signedIn},
	{Route: "GET /api/openapi-3.0.yaml", Need: signedIn},
	{Route: "GET /api/schemas/{schema}", Need: signedIn},
	{Route: "GET " + DocsPath, Need: signedIn},
	{Route: "GET " + DocsPath + ".css", Need: signedIn},
	{Route: "GET " + EventsPath, Need: view, Over: access.Objects},

	{Route: "GET /api/v1/status", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/readiness", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/failures", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/waits", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/activity", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/targets", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/notices", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/channels/{name}/test", Need: operate},
	{Route: "GET /api/v1/trends", Need: view},
	{Route: "POST /api/v1/doctor", Need: operate},
	{Route: "GET /api/v1/support-bundle", Need: operate},
	{Route: "POST /api/v1/config/reload", Need: operate},
	{Route: "POST /api/v1/config/diff", Need: operate},
	{Route: "POST " + BackupPath, Need: destroy},
	{Route: "POST /api/v1/retention/run", Need: destroy},
	{Route: "GET /api/v1/erasures", Need: trail},

	{Route: "GET /api/v1/system", Need: view},
	{Route: "GET /api/v1/notices/{id}", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/profiles", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/permission-sets", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/groups", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/logs", Need: view, Over: access.Objects},

	{Route: "GET /api/v1/users", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/users", Need: manageRequests},
	{Route: "POST /api/v1/users/import", Need: manageRequests},
	{Route: "GET /api/v1/users/{user}", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/users/{user}/memberships", Need: view, Over: access.Objects},
	{Route: "PUT /api/v1/users/{user}", Need: manageRequests},
	{Route: "PATCH /api/v1/users/{user}", Need: manageRequests},
	{Route: "DELETE /api/v1/users/{user}", Need: manageRequests},
	{Route: "POST /api/v1/users/{user}/erase", Need: access.All(access.ManageUsers, access.ModifyAllData)},
	{Route: "PUT /api/v1/users/{user}/apps/{app}", Need: manageRequests, Over: access.App},
	{Route: "DELETE /api/v1/users/{user}/apps/{app}", Need: manageRequests, Over: access.App},

	{Route: "GET /api/v1/apps", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/apps/{app}", Need: view, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/reconcile", Need: manageRequests, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/process", Need: manageRequests, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/accounts/import", Need: manageRequests, Over: access.App},
	{Route: "GET /api/v1/apps/{app}/accounts/export", Need: view, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/accounts/links", Need: manageRequests, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/accounts/undo", Need: manageRequests, Over: access.App},
	{Route: "GET /api/v1/apps/{app}/mapping", Need: view, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/mapping", Need: configure, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/preview", Need: configure, Over: access.App},

	{Route: "GET /api/v1/wizards", Need: configure, Over: access.Objects},
	{Route: "GET /api/v1/apps/{app}/wizard", Need: configure, Over: access.App},
	{Route: "PUT /api/v1/apps/{app}/wizard/{step}", Need: configure, Over: access.App},
	{Route: "DELETE /api/v1/apps/{app}/wizard", Need: configure, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/wizard/preview", Need: configure, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/wizard/suggest", Need: configure, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/wizard/collect", Need: configure, Over: access.App},
	{Route: "POST /api/v1/apps/{app}/wizard/commit", Need: configure, Over: access.App},
	{Route: "GET /api/v1/requests/{id}/following", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plugins/{name}/description", Need: view, Over: access.Objects},

	{Route: "GET /api/v1/requests", Need: seeRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests", Need: manageRequests, Over: access.Objects},
	{Route: "GET /api/v1/requests/{id}", Need: seeRequests, Over: access.Objects},
	{Route: "GET /api/v1/requests/{id}/test", Need: seeRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/again", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/retry", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/cancel", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/complete", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/retry", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/cancel", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/approve", Need: decide, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/deny", Need: decide, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/delegate", Need: decide, Over: access.Objects},
	{Route: "POST /api/v1/requests/approve", Need: decide, Over: access.Objects},
	{Route: "POST /api/v1/requests/deny", Need: decide, Over: access.Objects},
	{Route: "POST /api/v1/requests/delegate", Need: decide, Over: access.Objects},

	// A run is a request for all accounts of an app.
	{Route: "GET /api/v1/runs", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/runs/{id}", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/commit", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/pause", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/resume", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/allow", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/reject", Need: manageRequests, Over: access.Objects},
	{Route: "GET /api/v1/requests/{id}/accounts", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/requests/{id}/missing", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/requests/{id}/gone", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/review", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/requests/{id}/review/undo", Need: manageRequests, Over: access.Objects},

	{Route: "GET /api/v1/plans", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plans/{id}", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plans/{id}/changes", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/plans/{id}/allow", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/plans/{id}/reject", Need: manageRequests, Over: access.Objects},

	{Route: "GET /api/v1/accounts", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/accounts/{id}", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/link", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/unlink", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/ignore", Need: manageRequests, Over: access.Objects},

	{Route: "POST /api/v1/accounts/{id}/read", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/update", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/freeze", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/unfreeze", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/deactivate", Need: manageRequests, Over: access.Objects},
	{Route: "POST /api/v1/accounts/{id}/reactivate", Need: manageRequests, Over: access.Objects},

	{Route: "GET /api/v1/plugins", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plugins/{name}", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plugins/{name}/builds", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plugins/{name}/use", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/plugins/{name}/log", Need: operate},
	{Route: "POST /api/v1/plugins/{name}/rollback", Need: install},
	{Route: "POST /api/v1/plugins/{name}/release", Need: install},
	{Route: "POST /api/v1/plugins/{name}/grant", Need: install},

	{Route: "GET /api/v1/credentials", Need: view, Over: access.Objects},
	{Route: "GET /api/v1/credentials/{name}", Need: view, Over: access.Objects},
	{Route: "POST /api/v1/credentials/{name}/test", Need: manageApps, Over: access.Objects},
	{Route: "POST /api/v1/credentials/{name}/rotate", Need: manageApps},
	{Route: "POST /api/v1/credentials/{name}/authorize", Need: manageApps, Over: access.Objects},
	{Route: "POST /api/v1/credentials/{name}/revoke", Need: manageApps, Over: access.Objects},
	{Route: "DELETE /api/v1/credentials/{name}/authorizations", Need: manageApps, Over: access.Objects},

	// What is stored beside the files: an app's owner changes his own app, and whoever
	// may change them all gives it another connector or credential.
	{Route: "GET /api/v1/settings", Need: view},
	{Route: "GET /api/v1/settings/apps", Need: view},
	{Route: "GET /api/v1/settings/apps/{app}", Need: view, Over: access.App},
	{Route: "PUT /api/v1/settings/apps/{app}", Need: configure, Over: access.App},
	{Route: "POST /api/v1/settings/apps/{app}/check", Need: configure, Over: access.App},
	{Route: "DELETE /api/v1/settings/apps/{app}", Need: manageApps, Over: access.App},
	{Route: "GET /api/v1/settings/credentials", Need: view},
	{Route: "GET /api/v1/settings/credentials/{name}", Need: view},
	{Route: "PUT /api/v1/settings/credentials/{name}", Need: manageApps},
	{Route: "POST /api/v1/settings/credentials/{name}/check", Need: manageApps},
	{Route: "DELETE /api/v1/settings/credentials/{name}", Need: manageApps},
	{Route: "GET /api/v1/settings/plugins", Need: view},
	{Route: "GET /api/v1/settings/plugins/{name}", Need: view},
	{Route: "PUT /api/v1/settings/plugins/{name}", Need: install},
	{Route: "POST /api/v1/settings/plugins/{name}/check", Need: install},
	{Route: "DELETE /api/v1/settings/plugins/{name}", Need: install},
	{Route: "POST " + UploadPath, Need: install},

	{Route: "GET /api/v1/audit", Need: trail},
	{Route: "GET /api/v1/audit/verify", Need: trail},
	{Route: "GET /api/v1/audit/export", Need: trail},
	// A command tells what it has changed in the files of this machine.
	{Route: "POST /api/v1/audit/declarations", Need: destroy},

	{Route: "GET /api/v1/access/me", Need: signedIn},
	{Route: "GET /api/v1/access/roles", Need: signedIn},
	{Route: "GET /api/v1/access/tokens", Need: manageAccess},
	{Route: "POST /api/v1/access/tokens", Need: manageAccess},
	{Route: "DELETE /api/v1/access/tokens/{name}", Need: manageAccess},
	// So are one's own tokens, which may no more than oneself.
	{Route: "GET /api/v1/access/me/tokens", Need: signedIn},
	{Route: "POST /api/v1/access/me/tokens", Need: signedIn},
	{Route: "DELETE /api/v1/access/me/tokens/{name}", Need: signedIn},
	{Route: "GET /api/v1/access/administrators", Need: manageAccess},
	{Route: "POST /api/v1/access/administrators", Need: manageAccess},
	{Route: "DELETE /api/v1/access/administrators/{name}", Need: manageAccess},
	{Route: "POST /api/v1/access/administrators/{name}/reset-password", Need: manageAccess},
	{Route: "POST /api/v1/access/administrators/{name}/reset-totp", Need: manageAccess},
	// One's own sessions are shown, and may be ended, to anybody.
	{Route: "GET /api/v1/access/sessions", Need: signedIn},
	{Route: "DELETE /api/v1/access/sessions/{id}", Need: signedIn},
	{Route: "GET /api/v1/access/assignments", Need: manageAccess},
	{Route: "POST /api/v1/access/assignments", Need: manageAccess},
	{Route: "DELETE /api/v1/access/assignments/{id}", Need: manageAccess},
}
