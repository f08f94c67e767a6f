package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// What somebody changes in files: the audit trail says it by digests and keys,
// never by values.

// auditRun notes that a daemon starts or stops.
func (d *daemon) auditRun(ctx context.Context, action host.AuditAction) error {
	return d.store.Update(ctx, func(t *store.Tx) error {
		plugins := map[string]string{}
		for _, p := range d.catalogue.List() {
			plugins[p.Name] = p.Digest
		}
		return d.audit(ctx, t, action, host.AuditObject{Kind: "daemon", Name: machine()},
			map[string]any{"version": version, "config": d.current.Load().config.Digest(), "plugins": plugins})
	})
}

// trailEvery is how often the log is told where the audit trail ends.
const trailEvery = time.Hour

// tellTrail writes the trail's head into the log, which mostly goes elsewhere:
// a place that can be expected later. It is told when it is another.
func (d *daemon) tellTrail(ctx context.Context) error {
	var head host.AuditLink
	err := d.store.View(ctx, func(t *store.Tx) (err error) {
		head, _, err = t.AuditHead(ctx)
		return err
	})
	if err != nil || head.Number == 0 {
		return err
	}
	if told := d.trailTold.Swap(&head); told == nil || *told != head {
		d.log.InfoContext(ctx, "the audit trail ends here; provost audit verify --expect takes it", "head", head.String())
	}
	return nil
}

// machine names this machine among those of one database.
func machine() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// auditReload notes that a changed configuration runs now, or why it does not.
// before ran until now; after is nil where it could not be read. It is the way
// in where ctx names no actor: a file, a signal.
func (d *daemon) auditReload(ctx context.Context, way string, before, after *config.Config, leftOut map[string]error, refused error) {
	ctx = auditedAs(context.WithoutCancel(ctx), way)
	details := map[string]any{"machine": machine(), "before": before.Digest()}
	if after != nil {
		details["after"] = after.Digest()
		d := api.Declaration{Keys: config.Changed(before, after)}
		d.Bound()
		details["changed"] = d.Keys
	}
	if len(leftOut) > 0 { // connectors that stay what they were
		details["leftOut"] = sortedKeys(leftOut)
	}
	object := host.AuditObject{Kind: "config", Name: before.File}
	if refused != nil {
		var problems *config.Problems
		if errors.As(refused, &problems) {
			details["problems"] = problemPlaces(*problems)
			refused = host.Errorf(host.InvalidInput, "%w", refused)
		}
		d.auditRefused(ctx, host.AuditConfigReload, object, refused, details)
		return
	}
	if err := d.store.Update(ctx, func(t *store.Tx) error { return d.audit(ctx, t, host.AuditConfigReload, object, details) }); err != nil {
		d.log.ErrorContext(ctx, "not in the audit trail", "action", host.AuditConfigReload, "object", object, "error", err)
	}
}

// mostProblemPlaces are told of a configuration that is refused.
const mostProblemPlaces = 100

// problemPlaces says where a configuration is wrong. How would tell values.
func problemPlaces(problems config.Problems) (places []string) {
	for _, p := range problems {
		place := p.Key
		if p.Line > 0 {
			place = fmt.Sprintf("%s (line %d)", p.Key, p.Line)
		}
		if !slices.Contains(places, place) && len(places) < mostProblemPlaces {
			places = append(places, place)
		}
	}
	return places
}

// declare notes what this command has changed in the files of the
// configuration: the daemon does, or, where none runs, the command itself. What
// is stored stays whatever comes of it.
func (s *session) declare(ctx context.Context, w io.Writer, before, after *config.Config, d api.Declaration) {
	d.Keys = config.Changed(before, after)
	d.Bound()
	if err := s.tellDeclared(ctx, after, d); err != nil {
		fmt.Fprintf(w, "it is not in the audit trail: %s\n", oneLine(err.Error()))
	}
}

func (s *session) tellDeclared(ctx context.Context, cfg *config.Config, d api.Declaration) error {
	if c, ok := socketClient(cfg.Listen.Socket); ok {
		c.actor = s.actor()
		return errors.Join(c.do(ctx, http.MethodPost, "/api/v1/audit/declarations", nil, d, nil), c.close(ctx))
	}
	records, err := store.Open(ctx, cfg.Database.URL, store.Options{})
	if err != nil {
		return err
	}
	ctx = host.WithActor(ctx, s.actor())
	return errors.Join(records.Update(ctx, func(t *store.Tx) error { return auditDeclaration(ctx, t, d) }), records.Close())
}

func auditDeclaration(ctx context.Context, t *store.Tx, d api.Declaration) error {
	kind := "app"
	if d.Action != host.AuditAppApply && d.Action != host.AuditAppDelete {
		kind = "credential"
	}
	details, err := json.Marshal(map[string]any{"before": d.Before, "after": d.After, "changed": d.Keys, "secrets": d.Secrets})
	if err != nil {
		return err
	}
	actor, err := auditActor(ctx, t)
	if err != nil {
		return err
	}
	return t.AppendAudit(ctx, host.AuditEntry{Actor: actor, Action: d.Action, Object: host.AuditObject{Kind: kind, Name: d.Name}, Outcome: host.AuditDone, Details: details})
}

// fileDigest is the SHA-256 of a text, "" for none.
func fileDigest(text []byte) string {
	if text == nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// fileDigestOf is that of a file, "" where there is none.
func fileDigestOf(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return fileDigest(text)
}
