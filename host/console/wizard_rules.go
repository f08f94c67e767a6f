package console

import "github.com/provosthq/provost/host/access"

var (
	// configure, manageApps and install are the model's "configure user
	// provisioning", "create, update, delete apps" and "install packaged connectors".
	configure  = access.All(access.ViewSetup, access.ManageUsers, access.CustomizeApplication)
	manageApps = access.All(access.CustomizeApplication, access.ModifyAllData).Or(access.CustomizeApplication, access.ManageConnectedApps)
	install    = access.All(access.CustomizeApplication, access.ModifyAllData, access.DownloadPackages)
)

// wizardRules are the rules of the wizard, and of the review that it ends with.
var wizardRules = access.Rules{
	{Route: "GET /console/wizard", Need: configure, Over: access.Objects},
	{Route: "POST /console/wizard", Need: configure},
	{Route: "GET /console/apps/{app}/wizard", Need: configure, Over: access.App},
	{Route: "GET /console/apps/{app}/wizard/{step}", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/{step}", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/drop", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/connector/settings", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/connector/add", Need: install},
	{Route: "POST /console/apps/{app}/wizard/connector/upload", Need: install},
	{Route: "POST /console/apps/{app}/wizard/connector/grant", Need: install},
	{Route: "POST /console/apps/{app}/wizard/credential/new", Need: manageApps},
	{Route: "POST /console/apps/{app}/wizard/credential/authorize", Need: manageApps, Over: access.App},
	{Route: "GET /console/apps/{app}/wizard/credential/state", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/attributes/preview", Need: configure, Over: access.App},
	{Route: "GET /console/apps/{app}/wizard/linking/run", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/linking/commit", Need: configure, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/linking/allow", Need: manageRequests, Over: access.App},
	{Route: "POST /console/apps/{app}/wizard/linking/reject", Need: manageRequests, Over: access.App},

	{Route: "POST /console/runs/{name}/decide", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/undo", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/find", Need: view, Over: access.Objects},
	{Route: "POST /console/runs/{name}/people", Need: manageRequests, Over: access.Objects},
}
