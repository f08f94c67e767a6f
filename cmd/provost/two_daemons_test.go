package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
)

// second is another daemon over the same database, which is killed and started
// at random while the first goes on.
type second struct {
	t    *testing.T
	bin  string
	file string
	log  *logBuffer

	mu      sync.Mutex
	seen    int          // calls that the target saw, of either
	points  map[int]bool // when so many were seen, it is killed or started again
	process *exec.Cmd
	kills   int
}

// at counts the calls of a target, and kills or starts the daemon at its points.
func (s *second) at(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.seen++; s.points[s.seen] {
			if s.process != nil {
				s.kill()
			} else {
				s.start()
			}
		}
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// start and kill are called with the lock held.
func (s *second) start() {
	s.process = exec.Command(s.bin, "serve", "--config", s.file)
	s.process.Stderr = s.log
	if err := s.process.Start(); err != nil {
		s.t.Errorf("the second daemon: %v", err)
	}
}

func (s *second) kill() {
	_ = s.process.Process.Kill() // SIGKILL
	_ = s.process.Wait()         // it was killed
	s.process = nil
	s.kills++
}

// Two daemons work the same app on one PostgreSQL; one of them is killed and
// started at seeded points while thousands of changes are worked.
func TestTwoDaemonsOnOneDatabaseLoseAndDoubleNothingThoughOneIsKilled(t *testing.T) {
	people, kills := fromEnvironment(t, "PROVOST_PEOPLE", 1000), fromEnvironment(t, "PROVOST_KILLS", 6)
	if testing.Short() {
		people, kills = 200, 2
	}
	w := newKillWorld(t, storetest.Postgres(t), 100)
	s := &second{t: t, bin: w.bin, log: w.log, points: map[int]bool{}}
	server := httptest.NewServer(s.at(http.HandlerFunc(w.serve)))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	w.file = killConfig(t, dir, w.database, server.URL, w.token, 100)
	s.file = killConfig(t, t.TempDir(), w.database, server.URL, w.token, 100)
	random := rand.New(rand.NewPCG(3, 4))
	for len(s.points) < 2*kills { // a kill, a start, a kill, …
		s.points[10+random.IntN(2*people)] = true
	}
	w.start()
	w.until("the start", func(api.Status) bool { return true })
	s.mu.Lock()
	s.start()
	s.mu.Unlock()
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.process != nil {
			s.kill()
		}
	})

	// Everybody is created, and changed twice while that is under way; every
	// fifth leaves with the last change.
	const versions = 3
	for v := 1; v <= versions; v++ {
		var file bytes.Buffer
		fmt.Fprintln(&file, "Username,LastName,Email,Title,IsActive")
		for i := range people {
			fmt.Fprintf(&file, "p%d,Person,p%d@example.com,v%d,%v\n", i, i, v, v < versions || i%5 > 0)
		}
		_, err := w.provost(file.Bytes(), "user", "import", "-", "--format", "csv", "--assign", "acme")
		require.NoError(t, err)
	}
	w.until("provisioning", func(st api.Status) bool {
		for state, n := range st.Apps[0].Requests {
			if !state.Ended() && n > 0 {
				return false
			}
		}
		return true
	})
	s.mu.Lock()
	killed := s.kills
	s.mu.Unlock()
	w.kill()

	version := map[string]string{}
	made := map[string]int{}
	changes := 0
	for _, e := range w.target.Journal() {
		changes++
		if e.Operation == chaos.Create {
			made[e.Subject]++
		}
		title := fmt.Sprint(e.Account["title"])
		require.LessOrEqual(t, version[e.Subject], title, "%s: an older change came after a newer one", e.Subject)
		version[e.Subject] = title
	}
	gone := 0
	for _, a := range w.behind.Accounts() {
		name := fmt.Sprint(a.Attributes["userName"])
		require.Equal(t, 1, made[name], "%s is doubled", name)
		var i int
		_, err := fmt.Sscanf(name, "p%d", &i)
		require.NoError(t, err)
		require.Equal(t, i%5 > 0, a.Attributes["active"], name)
		if i%5 > 0 {
			require.Equal(t, fmt.Sprintf("v%d", versions), a.Attributes["title"], "%s lost a change", name)
		} else {
			gone++
		}
	}
	// Who left before the create had run was never made.
	require.GreaterOrEqual(t, len(made), people*4/5, "lost")
	require.Len(t, w.behind.Accounts(), len(made))
	s.mu.Lock()
	if s.process != nil {
		s.kill()
	}
	s.mu.Unlock()
	records := recordsOf(t, w.database)
	require.Empty(t, records.Violations())
	linked, takenOver := 0, 0
	for _, a := range records.Accounts {
		if a.LinkState == host.Linked {
			linked++
		}
	}
	for _, q := range records.Requests {
		require.NotEqual(t, host.StateFailed, q.State, "%s: %s", q.Name(), q.ErrorMessage)
		for _, l := range records.Logs[q.Id] {
			if l.Status == "taken over" {
				takenOver++
			}
		}
	}
	require.Equal(t, len(made), linked)
	require.GreaterOrEqual(t, killed, kills/2)
	require.NotContains(t, strings.ToLower(w.log.String()), "panic")
	t.Logf("%d changes of %d users by two daemons, one killed %d times: %d requests, %d calls that changed something, %d attempts taken over, %d accounts (%d deactivated): 0 lost, 0 doubled, none out of order",
		people*versions, people, killed, len(records.Requests), changes, takenOver, linked, gone)
}
