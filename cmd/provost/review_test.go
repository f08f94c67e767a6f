package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
)

func TestARunIsReviewedAndWhatAPersonMustDecideIsNeitherMadeAnewNorDeleted(t *testing.T) {
	t.Parallel()
	s, target, _ := acme(t, ", link: ['[account.ExternalFirstName, account.ExternalLastName] ~ [user.FirstName, user.LastName] >= 0.85'], operations: [Create, Update, EnableAndDisable, Delete], reconcile: {thresholds: {delete: '100'}}")
	for name, full := range map[string][2]string{"gh": {"Grace", "Hoper"}, "gh2": {"Grace", "Hoppper"}, "backup": {"Nightly", "Service"}} {
		_, err := target.Add(map[string]any{"userName": name, "active": true, "name": map[string]any{"givenName": full[0], "familyName": full[1]}})
		require.NoError(t, err)
	}
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	s.must("Username,FirstName,LastName,Email,Department,IsActive\ngrace,Grace,Hopper,g@example.com,Navy,false\nada,Ada,Lovelace,a@example.com,Maths,false\n", "user", "import", "-", "--format", "csv")

	require.Contains(t, s.must("", "user", "list", "--where", `user.Department == "Navy"`), "grace")
	require.NotContains(t, s.must("", "user", "list", "--where", `user.Department == "Navy"`), "ada")
	_, errs, err := s.run("", "user", "list", "--where", `user.Departmant == "Navy"`)
	require.Error(t, err)
	require.Contains(t, errs, "did you mean user.Department")

	s.must("", "reconcile", "--app", "acme", "--wait")
	const run = "UPR-000002"
	out := s.must("", "reconcile", "review", run, "--candidates")
	require.Contains(t, out, "gh2")
	require.Contains(t, out, "grace 0.9")
	require.NotContains(t, out, "backup")
	for _, wrong := range [][]string{{"ignore", run}, {"link", run}, {"link", run, "x", "--user", "nobody"}, {"link", run, "--user", "grace"}, {"unlink", run, "nowhere"}, {"review", "UPR-000099"}, {"link", run, "--score", "2"}} {
		_, errs, err := s.run("", append([]string{"reconcile"}, wrong...)...)
		require.Error(t, err, wrong)
		require.NotEmpty(t, errs)
	}
	s.must("", "reconcile", "commit", run)
	require.Contains(t, s.must("", "account", "list", "-q", "gh2"), "orphaned, 1 may have it")

	// Neither a second account for her, nor the end of what may be hers.
	plan := s.must("", "reconcile", "process", "--app", "acme", "--dry-run", "--missing", "create", "--orphaned", "delete")
	require.Contains(t, plan, "backup")
	require.NotContains(t, plan, "gh")

	s.must("", "reconcile", "--app", "acme", "--wait")
	const again = "UPR-000003"
	id := s.idOf(again, "gh2")
	require.Contains(t, s.must("", "reconcile", "link", again, id, "--user", "grace"), "1 linked")
	require.Contains(t, s.must("", "reconcile", "ignore", again, "--query", "backup"), "ignore: 1 accounts")
	require.Contains(t, s.must("", "reconcile", "commit", again), "Completed")
	require.Contains(t, s.must("", "user", "get", "grace"), "gh2")
	require.Contains(t, s.must("", "account", "list", "--state", "ignored"), "backup")
	require.Contains(t, s.must("", "request", "get", again), "link 1: "+id+" to grace")
}

// idOf is the target's id of an account of a run.
func (s *served) idOf(run, username string) string {
	s.t.Helper()
	var list []api.Staged
	require.NoError(s.t, json.Unmarshal([]byte(s.must("", "reconcile", "review", run, "-q", username, "-o", "json")), &list))
	require.Len(s.t, list, 1)
	return list[0].ExternalUserId
}
