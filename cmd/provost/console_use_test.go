package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// state is that of a request now.
func (s *scene) state(name string) host.RequestState {
	s.t.Helper()
	r, _, err := s.Request(s.t.Context(), name)
	require.NoError(s.t, err)
	return r.State
}

func TestRequestsAreDecidedAboutInTheConsole(t *testing.T) {
	s := newScene(t)
	r := newReader(t, s.url)
	waiting := s.in("github", host.StateNew)

	// On the home page: the first is approved, and is done live on its own page.
	r.open("/console")
	r.sees("things need a person")
	r.presses("Approve")
	r.sees(waiting[0].Name() + " is approved")
	require.Equal(t, "/console", r.at(), "one stays where one was")
	r.open("/console/requests/" + waiting[0].Name())
	r.sees("Linked")
	require.Equal(t, host.StateCompleted, s.state(waiting[0].Name()))

	// In the inbox: the next is denied, with a reason that stays.
	r.open("/console/approvals")
	r.presses("Deny")
	r.do(chromedp.SendKeys("dialog[open] textarea", "no licence", chromedp.NodeVisible))
	r.presses("Deny this request")
	r.sees(waiting[1].Name() + " is denied. Nothing was sent.")
	denied, _, err := s.Request(t.Context(), waiting[1].Name())
	require.NoError(t, err)
	require.Equal(t, host.ApprovalDenied, denied.ApprovalStatus)
	require.Equal(t, "no licence", denied.ApprovalReason)

	// Somebody else was quicker: it is said, and nothing is done twice.
	page := "/console/requests/" + waiting[2].Name()
	r.open(page)
	_, err = s.Cancel(t.Context(), waiting[2].Id)
	require.NoError(t, err)
	s.posts(t, page+"/approve", nil, http.StatusSeeOther)
	r.open(page)
	r.sees("Cancelled")
	require.Equal(t, host.StateCancelled, s.state(waiting[2].Name()))

	// What failed is tried again, or done by hand.
	failed := s.in("acme", host.StateFailed)[0]
	r.open("/console/requests/" + failed.Name())
	r.presses("Try again")
	r.sees(failed.Name() + " is tried again. The new request is UPR-")
	r.presses("Open " + s.successor(failed).Name())
	r.sees("retry of " + failed.Name())
	s.until("the second failure", func() bool { return s.state(s.successor(failed).Name()) == host.StateFailed })
	r.sees("Complete by hand")
	r.presses("Complete by hand")
	r.presses("It is done")
	r.sees("counts as done")

	// What waits is withdrawn.
	slack := s.in("slack", host.StateNew)[0]
	r.open("/console/requests/" + slack.Name())
	r.presses("Cancel")
	r.presses("Cancel this request")
	r.sees(slack.Name() + " is cancelled.")

	// A threshold is passed by a person, who is asked twice, with the number.
	r.open("/console")
	r.presses("Allow these 39")
	r.presses("Leave it")
	r.open("/console/plans/PLN-000001")
	r.presses("Allow these 39")
	require.Equal(t, host.PlanQuarantined, s.planState("PLN-000001"), "nothing has happened before the second press")
	r.do(chromedp.Click("dialog[open] .btn.danger", chromedp.NodeVisible))
	r.sees("PLN-000001 is allowed")
	s.until("the plan", func() bool { return s.planState("PLN-000001") == host.PlanDone })
}

// successor is the request that tries another again.
func (s *scene) successor(r *host.UserProvisioningRequest) *host.UserProvisioningRequest {
	s.t.Helper()
	for _, one := range s.requests(r.AppName) {
		if one.ParentId == r.Id {
			return one
		}
	}
	s.t.Fatalf("nothing tries %s again", r.Name())
	return nil
}

func (s *scene) planState(name string) host.PlanState {
	s.t.Helper()
	p, err := s.Plan(s.t.Context(), name)
	require.NoError(s.t, err)
	return p.State
}

// posts sends a form as a browser does that runs no script, and returns where it
// leads.
func (s *scene) posts(t *testing.T, path string, form url.Values, status int) string {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.PostForm(s.url+path, form)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, status, answer.StatusCode, path)
	return answer.Header.Get("Location")
}

func TestPeopleAreFoundAndDeactivatedInTheConsole(t *testing.T) {
	s := newScene(t)
	r := newReader(t, s.url)
	r.open("/console/people")
	r.do(chromedp.KeyEvent("/"), chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent("lovel")) // the protocol sends the letter though the key was taken
	require.Eventually(t, func() bool { return !strings.Contains(r.text(), "Grace Hopper") }, 10*time.Second, 50*time.Millisecond)
	r.sees("Ada Lovelace")
	require.Equal(t, "/console/people", r.at(), "what is searched for stands in no address")

	// Out of the field, down to the row, in.
	r.do(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent("j"), chromedp.KeyEvent(kb.Enter))
	r.sees("Deactivate everywhere")
	r.presses("Deactivate everywhere")
	r.sees("Nothing has happened yet.")
	r.sees("once somebody has approved it")
	ada, err := s.User(t.Context(), "ada.lovelace@example.com")
	require.NoError(t, err)
	require.True(t, ada.IsActive)
	r.do(chromedp.KeyEvent(kb.Escape)) // back
	r.sees("The person")
	r.presses("Deactivate everywhere")
	r.presses("Deactivate Ada Lovelace in 2 apps")
	r.sees("This person is inactive now.")
	s.until("the account", func() bool {
		a := s.linked("acme", ada.Id)
		return a != nil && !a.Active
	})
	require.True(t, s.linked("github", ada.Id).Active, "nobody has approved it there")
	r.open("/console/people/" + ada.Id + "/activate")
	r.presses("Activate Ada Lovelace in 1 app")
	r.sees("This person is active now.")

	// An app is assigned, and taken back.
	r.open("/console/people/" + ada.Id)
	r.do(chromedp.SetValue(`select[name=app]`, "payroll", chromedp.NodeVisible))
	r.presses("Assign")
	r.sees("The app is assigned; the account is being made.")
	has, err := s.Memberships(t.Context(), ada.Id)
	require.NoError(t, err)
	require.Len(t, has.Apps, 3)

	// Without scripts the same forms do the same.
	require.Equal(t, "/console/people/"+ada.Id, s.posts(t, "/console/people/"+ada.Id+"/unassign", url.Values{"app": {"payroll"}}, http.StatusSeeOther))
	has, err = s.Memberships(t.Context(), ada.Id)
	require.NoError(t, err)
	require.Len(t, has.Apps, 2)
	s.posts(t, "/console/people/found", url.Values{"q": {"lovelace"}}, http.StatusOK)
}

// A file of people is imported in the console: all of it, or nothing of it.
func TestPeopleAreImportedInTheConsole(t *testing.T) {
	s := newScene(t)
	r := newReader(t, s.url)
	imports := func(text string) {
		file := filepath.Join(t.TempDir(), "people.csv")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		r.open("/console/people")
		r.do(chromedp.Click("details.card > summary", chromedp.NodeVisible))
		r.do(chromedp.SetUploadFiles("#file", []string{file}))
		r.presses("Import")
	}
	imports("Username,FirstName\nkatherine,Katherine\ndorothy\n")
	r.sees("1 row is wrong, so nobody was imported. people.csv:3:")
	imports("Username,FirstName,LastName\nkatherine,Katherine,Johnson\n")
	r.sees("1 person came in, 0 updated, 0 as before.")
	require.Equal(t, "/console/people", r.at())
	_, err := s.User(t.Context(), "katherine")
	require.NoError(t, err)
}

// TestWhatIsLiveKeepsTheFocus lets a request end while its list is looked at.
func TestWhatIsLiveKeepsTheFocus(t *testing.T) {
	s := newScene(t)
	r := newReader(t, s.url)
	waiting := s.in("github", host.StateNew)
	link := "#r" + strings.TrimLeft(strings.TrimPrefix(waiting[0].Name(), "UPR-"), "0")
	r.open("/console/requests?app=github")
	r.do(chromedp.Focus(link))
	_, err := s.Approve(host.WithActor(t.Context(), host.Administrator("root")), waiting[0].Id, "")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		row, err := chromedp.Run(r.ctx, chromedp.Evaluate[string](`document.querySelector("`+link+`").closest("tr").innerText`))
		return err == nil && strings.Contains(row, "Completed")
	}, 20*time.Second, 100*time.Millisecond)
	focused, err := chromedp.Run(r.ctx, chromedp.Evaluate[string](`"#" + document.activeElement.id`))
	require.NoError(t, err)
	require.Equal(t, link, focused)
	r.fine()
}

func TestTheConsoleShowsToEachWhatTheyMay(t *testing.T) {
	s := newScene(t)
	grace, err := s.User(t.Context(), "grace.hopper@example.com")
	require.NoError(t, err)
	approver := newReader(t, s.as(&access.Subject{Kind: access.Person, Name: grace.Username, UserId: grace.Id, Rights: []access.Right{{Role: access.Approver}}}))
	approver.open("/console")
	approver.sees("Approve")
	require.NotContains(t, approver.text(), "Payroll", "apps are not for approvers")
	approver.presses("Approve")
	approver.sees("is approved")
	approver.misses("/console/people")
	require.Contains(t, approver.text(), "You may not do this.")

	reader := newReader(t, s.as(&access.Subject{Kind: access.Person, Name: "someone", Rights: []access.Right{{Role: access.ReadOnly}}}))
	reader.open("/console")
	reader.sees("Payroll")
	failed := s.in("acme", host.StateFailed)[0]
	reader.open("/console/requests/" + failed.Name())
	require.NotContains(t, reader.text(), "Try again")
}

func TestAnotherSiteCanPressNothing(t *testing.T) {
	s := newScene(t)
	waiting := s.in("github", host.StateNew)[0]
	for _, header := range []http.Header{{"Origin": {"https://evil.example"}}, {"Sec-Fetch-Site": {"cross-site"}}, {"Origin": {"null"}}} {
		ask, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/console/requests/"+waiting.Name()+"/approve", nil)
		require.NoError(t, err)
		for name := range header {
			ask.Header[name] = header[name]
		}
		answer, err := http.DefaultClient.Do(ask)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusForbidden, answer.StatusCode, header)
	}
	require.Equal(t, host.ApprovalRequired, s.in("github", host.StateNew)[0].ApprovalStatus)
}
