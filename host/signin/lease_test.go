package signin_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/host/store/storetest"
)

// machine is a sign-in of another machine, whose own clock is ahead.
func (a *authorizable) machine(t *testing.T, ahead time.Duration, change func(*signin.Options)) *signin.SignIn {
	t.Helper()
	o := signin.Options{Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Sealer: a.sealer, Store: a.store, Now: func() time.Time { return a.now().Add(ahead) }}
	if change != nil {
		change(&o)
	}
	s, err := signin.New(a.config, o)
	require.NoError(t, err)
	return s
}

func access(t *testing.T, s *signin.SignIn) string {
	t.Helper()
	got, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	token, ok := got.Field("OAuthToken")
	require.True(t, ok)
	return token
}

func TestWhatAnotherMachineRevokesOrAuthorizesAnewCountsHere(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		a := newAuthorizable(t, database, oauthtest.Options{}, signin.AuthorizationCode)
		a.authorize(t)
		here := a.another(t)
		first := access(t, here)
		a.authorize(t) // perhaps as somebody else
		a.clock.Add(int64(6 * time.Second))
		require.NotEqual(t, first, access(t, here))
		_, err := a.Revoke(t.Context(), "", "by a test")
		require.NoError(t, err)
		a.clock.Add(int64(6 * time.Second))
		_, err = here.Get(t.Context(), "")
		var missing *signin.NotAuthorizedError
		require.ErrorAs(t, err, &missing)
		require.Contains(t, missing.Why, "was revoked")
		require.Zero(t, a.provider.Counts().Refreshes)
	})
}

func TestNoTransactionIsOpenWhileAServerIsAsked(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		var a *authorizable
		var asked, open atomic.Int64
		a = newAuthorizable(t, database, oauthtest.Options{AfterToken: func(string) {
			asked.Add(1)
			open.Add(a.store.open.Load())
		}}, signin.AuthorizationCode)
		a.authorize(t)
		a.clock.Store(int64(2 * time.Hour))
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := a.Get(context.Background(), ""); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 2, asked.Load(), "the grant and one refresh")
		require.Zero(t, open.Load())
	})
}

func TestWhoClosesTheStoreWaitsForWhatAServerGives(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{AfterToken: func(grant string) {
		if grant == "refresh_token" {
			held <- struct{}{}
			<-hold
		}
	}}, signin.AuthorizationCode)
	a.authorize(t)
	var busy signin.Busy
	var outcomes atomic.Value
	here := a.machine(t, 0, func(o *signin.Options) {
		o.Busy = &busy
		o.Observe = func(out signin.Outcome) { outcomes.Store(out) }
	})
	a.clock.Store(int64(2 * time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	asking := make(chan error, 1)
	go func() { _, err := here.Get(ctx, ""); asking <- err }()
	<-held
	cancel() // whoever asked is gone; the refresh goes on
	require.Error(t, <-asking)
	closed := make(chan struct{})
	go func() { busy.Close(); close(closed) }()
	select {
	case <-closed:
		t.Fatal("the store would be closed before what the server gave is in it")
	default:
	}
	close(hold)
	<-closed
	require.Equal(t, host.Authorized, a.row(t).State)
	require.EqualValues(t, 2, a.row(t).Generation)
	require.Equal(t, signin.Fetched, outcomes.Load())
	_, err := a.machine(t, 0, func(o *signin.Options) { o.Busy = &busy }).Get(t.Context(), "")
	require.ErrorContains(t, err, "the daemon stops")
}

func TestAMachineWhoseClockIsWrongNeitherBreaksALeaseNorRefreshesForNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		hold, held := make(chan struct{}), make(chan struct{}, 1)
		a := newAuthorizable(t, database, oauthtest.Options{Lifetime: time.Hour, AfterToken: func(grant string) {
			if grant == "refresh_token" {
				held <- struct{}{}
				<-hold
			}
		}}, signin.AuthorizationCode)
		a.config.Timeout = 20 * time.Second // that of who waits, too
		a.authorize(t)
		here, ahead, behind := a.machine(t, 0, nil), a.machine(t, 3*time.Hour, nil), a.machine(t, -3*time.Hour, nil)
		for _, s := range []*signin.SignIn{here, ahead, behind} {
			access(t, s)
		}
		require.Zero(t, a.provider.Counts().Refreshes, "the token is good by the clock of all")
		a.clock.Store(int64(2 * time.Hour))
		got := make(chan string, 3)
		ask := func(s *signin.SignIn) {
			if auth, err := s.Get(context.Background(), ""); err != nil {
				t.Error(err)
				got <- ""
			} else {
				token, _ := auth.Field("OAuthToken")
				got <- token
			}
		}
		go ask(here)
		<-held
		go ask(ahead)
		go ask(behind)
		require.Never(t, func() bool { return a.row(t).State != host.Authorized }, 200*time.Millisecond, 20*time.Millisecond)
		close(hold)
		first := <-got
		require.Equal(t, []string{first, first}, []string{<-got, <-got})
		require.Equal(t, 1, a.provider.Counts().Refreshes)
		require.Zero(t, a.provider.Counts().Reuses)
	})
}

func TestARefreshThatWasCutOffIsToldAlthoughNobodyAsks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		a := newAuthorizable(t, database, oauthtest.Options{}, signin.AuthorizationCode)
		a.authorize(t)
		require.NoError(t, a.store.Update(t.Context(), func(tx signin.Tx) error { // who has this lease is dead
			row, err := tx.Authorization(t.Context(), "Acme", "", true)
			if err != nil {
				return err
			}
			until := a.now().Add(time.Minute).UTC()
			row.LeaseHolder, row.LeaseUntil = "a machine that died", &until
			return tx.PutAuthorization(t.Context(), row)
		}))
		var outcomes []signin.Outcome
		here := a.machine(t, 0, func(o *signin.Options) { o.Observe = func(out signin.Outcome) { outcomes = append(outcomes, out) } })
		require.NoError(t, here.Settle(t.Context(), a.row(t)))
		require.Equal(t, host.Authorized, a.row(t).State, "its time is not over")
		a.clock.Store(int64(2 * time.Minute))
		require.NoError(t, here.Settle(t.Context(), a.row(t)))
		require.Equal(t, host.AuthorizeAgain, a.row(t).State)
		require.Contains(t, a.row(t).Reason, "cut off")
		require.Equal(t, []signin.Outcome{signin.CutOff}, outcomes)
		access(t, here) // until the end of the token that is there
		require.Zero(t, a.provider.Counts().Refreshes)
	})
}

// failing is a store that takes no change while it is told so.
type failing struct {
	signin.Store
	down atomic.Bool
}

func (f *failing) Update(ctx context.Context, do func(signin.Tx) error) error {
	if f.down.Load() {
		return errors.New("the database is down")
	}
	return f.Store.Update(ctx, do)
}

func TestTokensThatCanNotBeStoredAreUsedByNobodyAndStoredLater(t *testing.T) {
	var db *failing
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{AfterToken: func(grant string) {
		if grant == "refresh_token" {
			db.down.Store(true)
		}
	}}, signin.AuthorizationCode)
	db = &failing{Store: a.store}
	a.config.Timeout = 200 * time.Millisecond
	a.authorize(t)
	var outcomes []signin.Outcome
	here := a.machine(t, 0, func(o *signin.Options) {
		o.Store, o.Observe = db, func(out signin.Outcome) { outcomes = append(outcomes, out) }
	})
	a.clock.Store(int64(2 * time.Hour))
	_, err := here.Get(t.Context(), "")
	require.ErrorContains(t, err, "can't be stored")
	require.Equal(t, []signin.Outcome{signin.NotStored}, outcomes)
	_, err = here.Get(t.Context(), "")
	require.ErrorContains(t, err, "can't be stored")
	// The configuration is read anew, and the database is back.
	next := a.machine(t, 0, func(o *signin.Options) { o.Store = db })
	next.Adopt(here)
	db.down.Store(false)
	require.NoError(t, next.Settle(t.Context(), a.row(t)))
	require.EqualValues(t, 2, a.row(t).Generation)
	require.Equal(t, host.Authorized, a.row(t).State)
	access(t, a.another(t))
	require.Equal(t, 1, a.provider.Counts().Refreshes)
	require.Zero(t, a.provider.Counts().Reuses)
}

func TestAConfigurationThatIsTakenBackTakesNothingFromWhatWasAuthorized(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.AuthorizationCode)
	a.authorize(t)
	before := a.config
	a.config.OAuth2.RevokeURL, a.config.OAuth2.DeviceURL = a.provider.URL+"/elsewhere", a.provider.URL+"/device"
	access(t, a.another(t)) // it is still what the client was given

	a.config.OAuth2.ClientID = "a slip"
	_, err := a.another(t).Get(t.Context(), "")
	require.ErrorContains(t, err, "another client")
	require.Equal(t, host.AuthorizeAgain, a.row(t).State)
	a.config = before
	require.NoError(t, a.another(t).Settle(t.Context(), a.row(t)), "requests wait, so nobody asks")
	require.Equal(t, host.Authorized, a.row(t).State)
	access(t, a.another(t))
	require.Zero(t, a.provider.Counts().Reuses)
}

func TestARefreshWhoseAnswerIsNoUseIsNotAskedForAgain(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.AuthorizationCode)
	a.authorize(t)
	a.config.OAuth2.Carry = []signin.Carry{{From: "tenant", Header: "X-Tenant"}} // which the server does not say
	a.clock.Store(int64(2 * time.Hour))
	for range 2 {
		_, err := a.another(t).Get(t.Context(), "")
		var missing *signin.NotAuthorizedError
		require.ErrorAs(t, err, &missing)
		require.Contains(t, missing.Why, "without tenant")
	}
	require.Equal(t, 1, a.provider.Counts().Refreshes)
	require.Zero(t, a.provider.Counts().Reuses)
}

func TestWhatComesAfterARevocationIsRevokedAsWell(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{AfterToken: func(grant string) {
		if grant == "refresh_token" {
			held <- struct{}{}
			<-hold
		}
	}}, signin.AuthorizationCode)
	revoked := newEndpoint(t, func(http.ResponseWriter, url.Values, *http.Request) {})
	a.config.OAuth2.RevokeURL = revoked.URL
	a.authorize(t)
	first := access(t, a.another(t))
	a.clock.Store(int64(2 * time.Hour))
	done := make(chan error, 1)
	go func() { _, err := a.another(t).Get(context.Background(), ""); done <- err }()
	<-held
	told, err := a.another(t).Revoke(t.Context(), "", "by a test")
	require.NoError(t, err)
	require.True(t, told)
	close(hold)
	require.Error(t, <-done)
	require.Equal(t, host.AuthorizationRevoked, a.row(t).State)
	require.Len(t, revoked.forms, 4, "both tokens of before and both that came")
	require.Equal(t, first, revoked.forms[1].Get("token"))
	require.NotEqual(t, first, revoked.forms[3].Get("token"))
	require.Equal(t, "access_token", revoked.forms[3].Get("token_type_hint"))
}

func TestOutcomesOfFetchesAreCounted(t *testing.T) {
	status := 0
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{Break: func() int { return status }}, signin.AuthorizationCode)
	a.authorize(t)
	var outcomes []signin.Outcome
	here := a.machine(t, 0, func(o *signin.Options) { o.Observe = func(out signin.Outcome) { outcomes = append(outcomes, out) } })
	for i, broken := range []int{http.StatusServiceUnavailable, http.StatusForbidden, 0} {
		a.clock.Store(int64(time.Duration(i+1) * 2 * time.Hour))
		status = broken
		_, _ = here.Get(t.Context(), "") // how it ended is looked at below
	}
	a.provider.RevokeAll()
	a.clock.Store(int64(10 * time.Hour))
	_, err := here.Get(t.Context(), "")
	require.Error(t, err)
	require.Equal(t, []signin.Outcome{signin.Failed, signin.Refused, signin.Fetched, signin.InvalidGrant}, outcomes)
}

func TestWhatEachPersonAuthorizesIsOfNobodyElse(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		a := newAuthorizable(t, database, oauthtest.Options{}, signin.AuthorizationCode)
		a.config.PerUser = true
		s := a.another(t)
		_, err := s.Begin(t.Context(), "", redirect)
		require.ErrorContains(t, err, "--user")
		tokens := map[string]bool{}
		for _, user := range []string{"ann", "ben"} {
			_, err := s.Get(t.Context(), user)
			var missing *signin.NotAuthorizedError
			require.ErrorAs(t, err, &missing)
			require.Equal(t, user, missing.UserID)
			a.provider.Authorize(t, redirect, func(ctx context.Context) (string, error) { return s.Begin(ctx, user, redirect) }, func(ctx context.Context, answer map[string][]string) error {
				r, err := signin.TakeRequest(ctx, a.store, url.Values(answer).Get("state"), a.now())
				require.NoError(t, err)
				require.Equal(t, user, r.UserId)
				_, err = s.Complete(ctx, r, answer)
				return err
			})
			got, err := s.Get(t.Context(), user)
			require.NoError(t, err)
			token, _ := got.Field("OAuthToken")
			tokens[token] = true
		}
		require.Len(t, tokens, 2)
		_, err = s.Get(t.Context(), "")
		require.ErrorContains(t, err, "done for nobody")
		_, err = s.Revoke(t.Context(), "ann", "by a test")
		require.NoError(t, err)
		_, err = s.Get(t.Context(), "ann")
		require.Error(t, err)
		_, err = s.Get(t.Context(), "ben")
		require.NoError(t, err)
	})
}
