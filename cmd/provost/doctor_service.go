package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/signin"
)

const (
	// credentialsAtOnce is how many credentials the doctor tries at a time.
	credentialsAtOnce = 4
	// longestTrial bounds one of them, and longestVerify the audit trail.
	longestTrial, longestVerify = 20 * time.Second, 20 * time.Second
	// mostDatabaseSkew is by how much the database's clock may differ.
	mostDatabaseSkew = 5 * time.Second
)

// Doctor looks at everything that this host needs, tries each credential, and
// says what to do.
func (s service) Doctor(ctx context.Context) ([]api.Check, error) {
	cfg := s.current.Load().config
	database := s.checkDatabase(ctx)
	checks := []api.Check{s.checkRunningConfig(), database}
	if database.Status == api.CheckOK {
		checks = append(checks, s.checkSchema(ctx), s.checkWrite(ctx), s.checkClock(ctx), s.checkQueue(ctx), s.checkTrail(ctx))
	}
	checks = append(checks, checkMachine(cfg)...)
	checks = append(checks, s.checkConnectors()...)
	if database.Status == api.CheckOK {
		checks = append(checks, s.tryCredentials(ctx)...)
		checks = append(checks, s.checkTargets(ctx)...)
	}
	return checks, ctx.Err()
}

func (s service) checkSchema(ctx context.Context) api.Check {
	c := api.Check{Name: "schema", Status: api.CheckOK}
	have, known, err := s.store.Schema(ctx)
	size, sizeErr := s.store.Bytes(ctx)
	switch {
	case err != nil:
		c.Status, c.Reason = api.CheckFail, err.Error()
	case have > known:
		c.Status, c.Reason, c.Next = api.CheckWarn, fmt.Sprintf("version %d; this binary knows up to %d: a newer provost uses the database", have, known), "run the newer version here, too"
	default:
		c.Reason = fmt.Sprintf("version %d", have)
	}
	if err == nil && sizeErr == nil {
		c.Reason += fmt.Sprintf(", %s", bytesText(size))
	}
	return c
}

func (s service) checkWrite(ctx context.Context) api.Check {
	began := time.Now()
	if err := s.store.TryWrite(ctx); err != nil {
		return api.Check{Name: "writing", Status: api.CheckFail, Reason: "nothing can be stored: " + err.Error(), Next: "look at the disk's room and at the rights of the database's files or user"}
	}
	return api.Check{Name: "writing", Status: api.CheckOK, Reason: "a change can be stored, in " + time.Since(began).Round(100*time.Microsecond).String()}
}

// checkClock compares our clock with the database's, whose times all machines
// compare with their own.
func (s service) checkClock(ctx context.Context) api.Check {
	before := time.Now()
	at, err := s.store.Clock(ctx)
	now := before.Add(time.Since(before) / 2)
	switch skew := at.Sub(now).Abs(); {
	case err != nil:
		return api.Check{Name: "clock", Status: api.CheckFail, Reason: err.Error()}
	case skew > mostDatabaseSkew:
		return api.Check{Name: "clock", Status: api.CheckWarn, Reason: fmt.Sprintf("it differs from the database's by %s", skew.Round(time.Millisecond)), Next: "set both by NTP: leases and schedules compare them"}
	}
	if s.store.Dialect() == "sqlite" {
		return api.Check{Name: "clock", Status: api.CheckOK, Reason: "the database's is this machine's; targets' are compared below"}
	}
	return api.Check{Name: "clock", Status: api.CheckOK, Reason: "as the database's"}
}

// checkTrail verifies the audit trail, as far as there is time.
func (s service) checkTrail(ctx context.Context) api.Check {
	ctx, cancel := context.WithTimeout(ctx, longestVerify)
	defer cancel()
	v, err := s.VerifyAudit(ctx, "")
	switch {
	case err != nil && ctx.Err() != nil:
		return api.Check{Name: "audit trail", Status: api.CheckOK, Reason: "too long to be looked at here", Next: "provost audit verify"}
	case err != nil:
		return api.Check{Name: "audit trail", Status: api.CheckFail, Reason: err.Error()}
	case v.Problem != "":
		return api.Check{Name: "audit trail", Status: api.CheckFail, Reason: fmt.Sprintf("it is not as it was written: entry %d: %s", v.Broken, v.Problem), Next: "provost audit verify; find out who could write to the database"}
	}
	return api.Check{Name: "audit trail", Status: api.CheckOK, Reason: fmt.Sprintf("%d entries are as they were written", v.Entries)}
}

// tryCredentials signs in with each credential, and asks its target something.
func (s service) tryCredentials(ctx context.Context) []api.Check {
	list, err := s.Credentials(ctx)
	if err != nil {
		return []api.Check{{Name: "credentials", Status: api.CheckFail, Reason: err.Error()}}
	}
	checks := make([]api.Check, len(list))
	room := make(chan struct{}, credentialsAtOnce)
	var tasks sync.WaitGroup
	for i, c := range list {
		tasks.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(ctx, longestTrial)
			defer cancel()
			checks[i] = s.tryCredential(ctx, c)
		})
	}
	tasks.Wait()
	return checks
}

func (s service) tryCredential(ctx context.Context, c api.Credential) api.Check {
	check := api.Check{Name: "credential " + c.Name, Status: api.CheckOK}
	next := "provost credential test " + c.Name
	switch {
	case c.Identity == "per user" && c.Protocol != string(signin.Anonymous):
		check.Reason = fmt.Sprintf("each person signs in; %d have authorized it", len(c.Authorizations))
		return check
	case c.Wants != "":
		return wantsCheck(c)
	}
	steps, err := s.TestCredential(ctx, c.Name, "", "")
	if err != nil {
		check.Status, check.Reason, check.Next = api.CheckFail, err.Error(), next
		return check
	}
	var failed []string
	for _, one := range steps {
		switch {
		case one.Unsure:
			check.Status, check.Reason, check.Next = api.CheckWarn, one.Detail, "set probe of the credential to a path that can be read   -> "+next+" --path PATH"
		case !one.OK:
			failed = append(failed, one.Name+": "+one.Detail)
		case one.Name == "clock":
			check.Status, check.Reason, check.Next = api.CheckWarn, one.Detail, "set this machine's clock by NTP, or tell the target's operator"
		case check.Status == api.CheckOK:
			check.Reason = one.Detail
		}
	}
	if len(failed) > 0 {
		check.Status, check.Reason, check.Next = api.CheckFail, strings.Join(failed, "; "), next
	}
	return check
}

// checkTargets tells of targets that are left alone.
func (s service) checkTargets(ctx context.Context) (checks []api.Check) {
	list, err := s.Targets(ctx)
	if err != nil {
		return []api.Check{{Name: "targets", Status: api.CheckFail, Reason: err.Error()}}
	}
	for _, one := range list {
		if one.State == host.BreakerClosed {
			continue
		}
		c := api.Check{Name: "target " + one.Name, Status: api.CheckWarn, Reason: fmt.Sprintf("it is left alone (%s), and %d requests wait for it: %s", one.State, one.Waiting, one.LastError),
			Next: "provost target list"}
		if one.Since != nil {
			c.Since = *one.Since
		}
		checks = append(checks, c)
	}
	return checks
}

// checkMachine looks at what this process has of the machine.
func checkMachine(cfg *config.Config) []api.Check {
	checks := []api.Check{checkDataDir(cfg.DataDir), checkRoom("disk", cfg.DataDir)}
	if path, is := sqliteFile(cfg.Database.URL); is && filepath.Dir(path) != filepath.Clean(cfg.DataDir) {
		checks = append(checks, checkRoom("disk of the database", filepath.Dir(path)))
	}
	if cfg.Secrets.IdentityFile != "" {
		checks = append(checks, checkIdentity(cfg.Secrets.IdentityFile))
	}
	return append(checks, checkLimits()...)
}

func sqliteFile(databaseURL string) (path string, is bool) {
	rest, is := strings.CutPrefix(databaseURL, "sqlite:")
	return strings.TrimPrefix(rest, "//"), is
}

// checkDataDir looks whether we can write there, and who else can read.
func checkDataDir(dir string) api.Check {
	c := api.Check{Name: "data_dir", Status: api.CheckOK, Reason: dir}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no folder")
	}
	var trial *os.File
	if err == nil {
		if trial, err = os.CreateTemp(dir, ".doctor-*"); err == nil {
			err = errors.Join(trial.Close(), os.Remove(trial.Name()))
		}
	}
	switch {
	case err != nil:
		c.Status, c.Reason, c.Next = api.CheckFail, fmt.Sprintf("%s: %s", dir, reasonOf(err)), "make it, and give it to the user that provost runs as"
	case info.Mode().Perm()&0o002 != 0:
		c.Status, c.Reason, c.Next = api.CheckFail, fmt.Sprintf("%s: everybody on this machine may change it (%s)", dir, info.Mode().Perm()), "chmod 700 "+dir
	case info.Mode().Perm()&0o077 != 0:
		c.Status, c.Reason, c.Next = api.CheckWarn, fmt.Sprintf("%s: others on this machine may read it (%s)", dir, info.Mode().Perm()), "chmod 700 "+dir
	}
	return c
}

// checkIdentity looks who can read what opens every secret.
func checkIdentity(file string) api.Check {
	c := api.Check{Name: "identity", Status: api.CheckOK, Reason: file}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		c.Status, c.Reason, c.Next = api.CheckFail, fmt.Sprintf("%s: %s", file, reasonOf(err)), "give the file back, or name another one: without it nothing that is sealed can be opened"
	case info.Mode().Perm()&0o007 != 0:
		c.Status, c.Reason, c.Next = api.CheckFail, fmt.Sprintf("%s: everybody on this machine may read it (%s)", file, info.Mode().Perm()), "chmod 600 "+file+", and make a new identity: this one may be known"
	case info.Mode().Perm()&0o070 != 0:
		c.Status, c.Reason, c.Next = api.CheckWarn, fmt.Sprintf("%s: its group may read it (%s)", file, info.Mode().Perm()), "chmod 600 "+file
	}
	return c
}

func reasonOf(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

const (
	leastRoom, littleRoom = 100 << 20, 1 << 30
	leastFiles, fewFiles  = 256, 4096
	littleMemory          = 256 << 20
)

// roomCheck judges how much of a disk is free.
func roomCheck(name, dir string, free, all int64) api.Check {
	c := api.Check{Name: name, Status: api.CheckOK, Reason: fmt.Sprintf("%s: %s of %s are free", dir, bytesText(free), bytesText(all))}
	switch {
	case free < leastRoom:
		c.Status, c.Next = api.CheckFail, "make room: soon nothing can be stored"
	case free < littleRoom:
		c.Status, c.Next = api.CheckWarn, "make room"
	}
	return c
}

// filesCheck judges how many files may be open: each connection is one.
func filesCheck(soft uint64) api.Check {
	c := api.Check{Name: "open files", Status: api.CheckOK, Reason: fmt.Sprintf("%d may be open at once", soft)}
	if soft >= 1<<40 {
		c.Reason = "as many as there are"
	}
	switch {
	case soft < leastFiles:
		c.Status, c.Next = api.CheckFail, "allow more: LimitNOFILE= of the unit, or ulimit -n"
	case soft < fewFiles:
		c.Status, c.Next = api.CheckWarn, "allow more where many targets are called at once: LimitNOFILE= of the unit, or ulimit -n"
	}
	return c
}

// memoryCheck judges how much memory is left.
func memoryCheck(left, limit int64, of string) api.Check {
	c := api.Check{Name: "memory", Status: api.CheckOK, Reason: fmt.Sprintf("%s of %s (%s) are left", bytesText(left), bytesText(limit), of)}
	if left < littleMemory {
		c.Status, c.Next = api.CheckWarn, "give it more, or fewer workers and instances (workers, plugins.….limits)"
	}
	return c
}
