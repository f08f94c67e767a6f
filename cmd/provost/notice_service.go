package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/notice"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/store"
)

// noticeStore is the store as the board sees it.
type noticeStore struct{ *store.Store }

func (s noticeStore) Update(ctx context.Context, fn func(notice.Tx) error) error {
	return s.Store.Update(ctx, func(t *store.Tx) error { return fn(t) })
}

func (s noticeStore) View(ctx context.Context, fn func(notice.Tx) error) error {
	return s.Store.View(ctx, func(t *store.Tx) error { return fn(t) })
}

// raise tells people of what only this machine has seen, such as a connector
// that it has taken out; see [notice.Board.Raise]. What can be read from the
// database is watched instead.
func (d *daemon) raise(ctx context.Context, n host.Notice) {
	if err := d.notices.Raise(ctx, n); err != nil {
		d.log.ErrorContext(ctx, "people are not told", "kind", n.Kind, "subject", n.Subject, "error", err)
	}
}

// resolve tells them that it is over.
func (d *daemon) resolve(ctx context.Context, kind host.NoticeKind, subject string) {
	if err := d.notices.Resolve(ctx, kind, subject); err != nil {
		d.log.ErrorContext(ctx, "people are not told that it is over", "kind", kind, "subject", subject, "error", err)
	}
}

// watchedKinds are the kinds of notice that follow from what is stored.
var watchedKinds = []host.NoticeKind{host.NoticeThreshold, host.NoticeCredential, host.NoticeTarget, host.NoticeApproval, host.NoticeReview}

func (d *daemon) watchNotices(ctx context.Context) error {
	return d.notices.Watch(ctx, watchedKinds, func(ctx context.Context) ([]host.Notice, error) {
		all, err := d.conditions(ctx)
		list := make([]host.Notice, len(all))
		for i, c := range all {
			list[i] = c.Notice
		}
		return list, err
	})
}

// condition is what is so now: as a notice, and in the words that are for who
// sits at this host and go nowhere else.
type condition struct {
	host.Notice
	own string
}

// mostWaiting bounds the plans and runs that are told of.
const mostWaiting = 200

// conditions are what people must do by what is stored.
func (d *daemon) conditions(ctx context.Context) ([]condition, error) {
	var all []condition
	add := func(kind host.NoticeKind, subject string, waiting int64, own, format string, args ...any) {
		all = append(all, condition{host.Notice{Kind: kind, Subject: subject, Waiting: waiting, Text: fmt.Sprintf(format, args...)}, own})
	}
	credentials, err := service{d}.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	now, cfg := time.Now(), d.current.Load().config
	for _, c := range credentials {
		if c.Wants != "" {
			state := "is not authorized yet"
			for _, a := range c.Authorizations {
				if a.UserId == "" && a.State != "" {
					state = "must be authorized again"
				}
			}
			add(host.NoticeCredential, c.Name, c.Waiting, c.Wants, "%s %s   -> provost credential authorize %s", c.Name, state, c.Name)
		}
		for _, a := range c.Authorizations {
			if why := a.Wants(now); why != "" && a.UserId != "" && a.State == host.AuthorizeAgain {
				add(host.NoticeCredential, c.Name+"/"+a.UserId, 0, why, "%s must be authorized again for user %s   -> provost credential authorize %s --user %s", c.Name, a.UserId, c.Name, a.UserId)
			}
		}
	}
	err = d.store.View(ctx, func(t *store.Tx) error {
		plans, err := t.Plans(ctx, store.PlanFilter{States: []host.PlanState{host.PlanQuarantined}, Limit: mostWaiting})
		if err != nil {
			return err
		}
		for _, p := range plans {
			of := "the organisation's users"
			if p.AppName != "" {
				of = p.AppName
			}
			changes := int64(0)
			for _, n := range p.Counts {
				changes += n
			}
			add(host.NoticeThreshold, p.Name(), changes, "", "%s of %s passed a threshold with %d changes of %d and waits for a person   -> provost plan get %s", p.Name(), of, changes, p.Accounts, p.Name())
		}
		runs, err := t.RunsWaiting(ctx, mostWaiting)
		if err != nil {
			return err
		}
		for _, r := range runs {
			switch {
			case r.Quarantine != "":
				add(host.NoticeThreshold, r.Name(), 0, "", "%s, a run of %s, passed a threshold and waits for a person   -> provost reconcile review %s", r.Name(), r.AppName, r.Name())
			case r.CompletedDate == nil && now.Sub(analyzedAt(r)) >= cfg.Notices.Waiting && !r.Paused && !r.CommitWhenAnalyzed:
				add(host.NoticeReview, r.Name(), 0, "", "%s, a run of %s, has waited for its review since %s   -> provost reconcile review %s", r.Name(), r.AppName, analyzedAt(r).UTC().Format(time.RFC3339), r.Name())
			}
		}
		apps, err := t.Configs(ctx)
		if err != nil {
			return err
		}
		for _, app := range apps {
			if app.Enabled && app.MayHaveMore(t.Restored()) {
				add(host.NoticeReview, app.AppName, 0, "", "the database was restored from a backup on %s, and %s was not reconciled as a whole since   -> provost reconcile --app %s --wait", t.Restored().UTC().Format(time.RFC3339), app.AppName, app.AppName)
			}
		}
		waits, err := t.ApprovalsWaiting(ctx, now.Add(-cfg.Notices.Waiting))
		if err != nil {
			return err
		}
		for _, w := range waits {
			add(host.NoticeApproval, w.AppName, w.Count, "", "requests of %s have waited for approval since %s   -> provost request list --app %s --approval Required", w.AppName, w.Oldest.UTC().Format(time.RFC3339), w.AppName)
		}
		targets, err := d.targets(ctx, t)
		if err != nil {
			return err
		}
		for _, one := range targets {
			if one.State == host.BreakerClosed || one.Since == nil || now.Sub(*one.Since) < cfg.Notices.TargetDown {
				continue
			}
			text := fmt.Sprintf("%s has not done what it was asked since %s and is left alone", one.Name, one.Since.UTC().Format(time.RFC3339))
			const next = "   -> provost target list"
			add(host.NoticeTarget, one.Name, one.Waiting, text+": "+one.LastError+next, "%s%s", text, next)
		}
		return nil
	})
	return all, err
}

// analyzedAt is since when a run has waited, as near as its record says.
func analyzedAt(r *host.UserProvisioningRequest) time.Time {
	if r.StartedDate != nil {
		return *r.StartedDate
	}
	return r.CreatedDate
}

// Notices is what people must do or know: as it is now, with since when and how
// people were told, and what else is stored.
func (s service) Notices(ctx context.Context, since time.Time) ([]api.Notice, error) {
	now, err := s.conditions(ctx)
	if err != nil {
		return nil, err
	}
	var stored []*host.Notice
	told := map[string][]*host.NoticeDelivery{}
	err = s.store.View(ctx, func(t *store.Tx) error {
		if stored, err = t.Notices(ctx, since); err != nil {
			return err
		}
		ids := make([]string, len(stored))
		for i, n := range stored {
			ids[i] = n.Id
		}
		list, err := t.Deliveries(ctx, ids)
		clear(told)
		for _, d := range list {
			told[d.NoticeId] = append(told[d.NoticeId], d)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []api.Notice
	for _, c := range now {
		n := api.Notice{Kind: c.Kind, Subject: c.Subject, Text: c.Text, Waiting: c.Waiting}
		if c.own != "" {
			n.Text = c.own
		}
		for _, o := range stored {
			if o.Kind == c.Kind && o.Subject == c.Subject && o.ResolvedDate == nil {
				n.Id, n.Since, n.Deliveries = o.Id, o.FirstRaised, told[o.Id]
			}
		}
		all = append(all, n)
	}
	derived := map[host.NoticeKind]bool{}
	for _, kind := range watchedKinds {
		derived[kind] = true
	}
	for _, o := range stored {
		if o.ResolvedDate == nil && derived[o.Kind] {
			continue // it stands above, or is over in a moment
		}
		all = append(all, api.Notice{Id: o.Id, Kind: o.Kind, Subject: o.Subject, Text: o.Text, Waiting: o.Waiting, Since: o.FirstRaised, Resolved: o.ResolvedDate, Deliveries: told[o.Id]})
	}
	if current := s.current.Load(); current.refused != "" {
		all = append(all, api.Notice{Kind: host.NoticeConfiguration, Subject: current.config.File, Text: "the changed configuration is refused: " + current.refused})
	}
	return all, nil
}

// TestChannel sends a test.
func (s service) TestChannel(ctx context.Context, name string) error {
	return s.notices.Test(ctx, name)
}

// channels makes the channels of a configuration, with every secret read once.
func (d *daemon) channels(cfg *config.Config, sealer *secret.Sealer) (list []*notice.Channel, problems config.Problems) {
	dial := callout.OperatorDial(d.isListener)
	for _, c := range cfg.Notify {
		key := "notify." + c.Name
		channel := &notice.Channel{Name: c.Name, Kinds: words[host.NoticeKind](c.Kinds), Link: cfg.Listen.PublicURL + "/console"}
		open := func(path string, s config.Secret) *secret.Source {
			source, err := secret.Open(secretRef(s), secret.Options{Sealer: sealer, Binding: "notify/" + c.Name + "/" + path, Logger: d.log})
			if err == nil {
				_, err = source.Values(d.life)
			}
			if err != nil {
				problems = append(problems, config.Problem{Key: key + "." + path, Message: err.Error()})
			}
			return source
		}
		switch {
		case c.Webhook != nil:
			channel.Kind = "webhook"
			channel.Sender = notice.NewWebhook(c.Webhook.URL, open("webhook.secret", c.Webhook.Secret), dial)
		case c.Mail != nil:
			m := &notice.Mail{TLS: c.Mail.TLS, CAFile: c.Mail.CA, Username: c.Mail.Username, From: c.Mail.From, To: c.Mail.To, Dial: dial}
			if m.Username != "" {
				m.Password = open("mail.password", c.Mail.Password)
			}
			server, port, err := net.SplitHostPort(c.Mail.SMTP)
			if err == nil {
				m.Host = server
				m.Port, err = strconv.Atoi(port)
			}
			if err == nil {
				err = m.Check()
			}
			if err != nil {
				problems = append(problems, config.Problem{Key: key + ".mail", Message: err.Error()})
			}
			channel.Kind, channel.Sender, channel.Gather = "mail", m, c.Mail.Gather
		}
		list = append(list, channel)
	}
	return list, problems
}
