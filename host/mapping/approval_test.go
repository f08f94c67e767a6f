package mapping_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/pdk"
)

func TestAnApprovalRuleSaysWhoMustApprove(t *testing.T) {
	u := &host.User{User: pdk.User{Username: "ada", Department: "Finance", ManagerId: "grace"}}
	r := &host.UserProvisioningRequest{Operation: host.Update, AppName: "acme", ChangedAttributes: []string{"title"}, Attributes: map[string]any{"title": "CFO"}}
	manager := host.Approver{Needed: true, Manager: true}
	for rule, want := range map[string]host.Approver{
		`false`: {}, `nil`: {}, `""`: {}, `user.Title`: {},
		`true`:                         manager,
		`"manager"`:                    manager,
		`user.Department == "Finance"`: manager,
		`user.Department == "Sales"`:   {},
		`"group it-admins"`:            {Needed: true, Group: "it-admins"},
		`user.ManagerId`:               {Needed: true, Username: "grace"},
		`request.Operation == "Update" ? "group finance" : false`:        {Needed: true, Group: "finance"},
		`"title" in request.ChangedAttributes ? "cfo" : ""`:              {Needed: true, Username: "cfo"},
		`request.Attributes.title == "CFO" && request.AppName == "acme"`: manager,
	} {
		a, err := mapping.CompileApproval(rule)
		require.NoError(t, err, rule)
		got, err := a.Of(u, r)
		require.NoError(t, err, rule)
		require.Equal(t, want, got, rule)
	}
}

func TestAnApprovalRuleThatCanNotBeMeantIsRefused(t *testing.T) {
	for rule, message := range map[string]string{
		`request.Operatoin == "Create"`: "did you mean request.Operation?",
		`user.Departmnt == "Sales"`:     "did you mean user.Department?",
		`request.secret`:                "unknown field request.secret; there is Operation",
		`42`:                            "must end in true, false",
		`["a"]`:                         "must end in true, false",
		`user.Department ==`:            "unexpected token",
	} {
		_, err := mapping.CompileApproval(rule)
		require.ErrorContains(t, err, message, rule)
	}
	a, err := mapping.CompileApproval(`user.EmployeeNumber == "" ? "group hr" : (user.Custom ?? 3)`)
	require.NoError(t, err)
	require.Equal(t, []string{"hr"}, a.Groups())
	bad, err := mapping.CompileApproval(`len(user.Username) > 1 ? {"a": 1} : false`)
	if err == nil { // where its type is known only when it runs
		_, err = bad.Of(&host.User{User: pdk.User{Username: "ada"}}, &host.UserProvisioningRequest{})
	}
	require.ErrorContains(t, err, "username")
}
