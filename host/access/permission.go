// Package access says who may do what: permissions and the roles that combine
// them, the subject that asks, and the rules of routes, which are looked at in
// one place ([Rules.Guard]). It knows the domain; what is served and where
// people are stored it does not.
package access

import "slices"

// Permission lets a subject do a kind of thing. It is written as it is stored
// and shown.
type Permission string

// The permissions of the model, named as there.
const (
	// ViewSetup: see apps, connectors, credentials (never secrets), requests,
	// accounts, runs and how the host is.
	ViewSetup Permission = "View Setup and Configuration"
	// ManageUsers: users and, with ViewSetup, their provisioning requests.
	ManageUsers Permission = "Manage Users"
	// CustomizeApplication: how apps are provisioned, and credentials.
	CustomizeApplication Permission = "Customize Application"
	// ManageConnectedApps: with CustomizeApplication, apps come, change and go.
	ManageConnectedApps Permission = "Manage Connected Apps"
	// ModifyAllData: what can't be undone, and what concerns everything.
	ModifyAllData Permission = "Modify All Data"
	// DownloadPackages: connectors are installed and granted what they want.
	DownloadPackages Permission = "Download AppExchange Packages"
)

// The permissions that the model has no need of.
const (
	// ApproveRequests: decide about requests that are the subject's to decide.
	ApproveRequests Permission = "Approve Requests"
	ViewAudit       Permission = "View Audit Trail"
	// ViewPersonalData: names, e-mails and attributes are shown, not masked.
	ViewPersonalData Permission = "View Personal Data"
	// ManageAccess: who else may do what: roles, tokens, administrators, sessions.
	ManageAccess Permission = "Manage Access"
	// OperateHost: reload, look for what is wrong, bundles, backups, pruning.
	OperateHost Permission = "Operate Host"
)

// Permissions are all of them, in the order in which they are shown.
var Permissions = []Permission{ViewSetup, ManageUsers, CustomizeApplication, ManageConnectedApps, ModifyAllData, DownloadPackages,
	ApproveRequests, ViewAudit, ViewPersonalData, ManageAccess, OperateHost}

// IsPermission tells whether p is one of [Permissions].
func IsPermission(p Permission) bool { return slices.Contains(Permissions, p) }

// Role is permissions under a name.
type Role struct {
	// Name is as it is stored and typed: app-owner.
	Name string `json:"name"`
	// Label is as it is shown.
	Label string `json:"label"`
	// ByApp: it is given for chosen apps, never for all.
	ByApp       bool         `json:"byApp,omitempty"`
	Permissions []Permission `json:"permissions"`
}

// Names of [Roles].
const (
	Administrator = "administrator"
	AppOwner      = "app-owner"
	Approver      = "approver"
	Auditor       = "auditor"
	Operator      = "operator"
	ReadOnly      = "read-only"
)

// Roles are all of them.
var Roles = []Role{
	{Name: Administrator, Label: "Administrator", Permissions: Permissions},
	{Name: AppOwner, Label: "App owner", ByApp: true, Permissions: []Permission{ViewSetup, ManageUsers, CustomizeApplication, ManageConnectedApps, ViewPersonalData}},
	{Name: Approver, Label: "Approver", Permissions: []Permission{ApproveRequests}},
	{Name: Auditor, Label: "Auditor", Permissions: []Permission{ViewSetup, ViewAudit, ViewPersonalData}},
	{Name: Operator, Label: "Operator", Permissions: []Permission{ViewSetup, OperateHost}},
	{Name: ReadOnly, Label: "Read-only", Permissions: []Permission{ViewSetup}},
}

// RoleNamed finds a role.
func RoleNamed(name string) (Role, bool) {
	i := slices.IndexFunc(Roles, func(r Role) bool { return r.Name == name })
	if i < 0 {
		return Role{}, false
	}
	return Roles[i], true
}
