package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

func newAuditCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Who changed what: a trail that can't be changed unseen"}
	cmd.AddCommand(newAuditList(s), newAuditVerify(s), newAuditExport(s))
	return cmd
}

func newAuditList(s *session) *cobra.Command {
	var actor, action, object, outcome, request, since, until string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List what was changed, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if outcome != "" && !slices.Contains(host.AuditOutcomes, host.AuditOutcome(outcome)) {
				return host.Errorf(host.Usage, "--outcome %q: there is %s", outcome, join(host.AuditOutcomes))
			}
			kind, name, _ := strings.Cut(object, "/")
			q := url.Values{"actor": {actor}, "action": {action}, "kind": {kind}, "name": {name}, "request": {request}}
			if outcome != "" {
				q.Set("outcome", outcome)
			}
			for flag, text := range map[string]string{"since": since, "until": until} {
				if text == "" {
					continue
				}
				at, err := parseMoment(text, time.Now())
				if err != nil {
					return host.Errorf(host.Usage, "--%s: %w", flag, err)
				}
				q.Set(flag, at.UTC().Format(time.RFC3339Nano))
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				list, err := pages(limit, func(n int, last *api.AuditEntry) ([]*api.AuditEntry, error) {
					q.Set("limit", strconv.Itoa(n))
					if last != nil {
						q.Set("before", strconv.FormatInt(last.Number, 10))
					}
					var page []*api.AuditEntry
					return page, c.do(ctx, http.MethodGet, "/api/v1/audit", q, nil, &page)
				})
				if err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, e := range list {
					who, what := e.Actor, string(e.Outcome)
					if e.ActorName != "" {
						who = e.ActorName
					}
					if e.Error != "" {
						what += ": " + string(e.Error)
					}
					rows[i] = []string{strconv.FormatInt(e.Number, 10), e.Time.Local().Format(time.DateTime), who, string(e.Action), e.Object.Kind + " " + e.Object.Name, what, detailsText(e.Details)}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"NUMBER", "TIME", "WHO", "ACTION", "OBJECT", "OUTCOME", "DETAILS"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&actor, "actor", "", "only by this user (id or username), or by an actor as it is shown")
	cmd.Flags().StringVar(&action, "action", "", "only this action, such as request.approve, or all of a noun: request")
	cmd.Flags().StringVar(&object, "object", "", "only of this object, KIND or KIND/NAME: app/acme, request/UPR-000042, user/jdoe")
	cmd.Flags().StringVar(&outcome, "outcome", "", "only with this outcome: "+join(host.AuditOutcomes))
	cmd.Flags().StringVar(&request, "request", "", "only about this provisioning request")
	cmd.Flags().StringVar(&since, "since", "", "only from then on: 2026-01-31, 2026-01-31T08:30:00Z, or 48h ago")
	cmd.Flags().StringVar(&until, "until", "", "only before then")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many; 0 for all")
	_ = cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(words[string](strings.Split(join(host.AuditOutcomes), ", ")), cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that does not exist
	return cmd
}

// parseMoment reads a day in local time, a time, or how long ago something was.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(strings.TrimSuffix(text, " ago")); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q is no time: write 2026-01-31, 2026-01-31T08:30:00Z or 48h", text)
	}
	return at, nil
}

// detailsText shows details in one line: key value, key value.
func detailsText(raw json.RawMessage) string {
	var details map[string]any
	if json.Unmarshal(raw, &details) != nil {
		return ""
	}
	var parts []string
	for _, key := range sortedKeys(details) {
		switch v := details[key].(type) {
		case nil, bool:
			if v == true {
				parts = append(parts, key)
			}
		case string:
			if v != "" {
				parts = append(parts, key+" "+v)
			}
		default:
			b, err := json.Marshal(v)
			if err == nil && string(b) != "{}" && string(b) != "0" {
				parts = append(parts, key+" "+strings.NewReplacer(`"`, "", ",", ", ").Replace(string(b)))
			}
		}
	}
	// Of a digest the beginning is enough: -o json has all of it.
	return digest.ReplaceAllString(strings.Join(parts, ", "), "$1")
}

var digest = regexp.MustCompile(`\b([0-9a-f]{12})[0-9a-f]{52}\b`)

func newAuditVerify(s *session) *cobra.Command {
	var expect string
	cmd := &cobra.Command{
		Use: "verify [FILE]", Short: "Check that no entry was changed, removed, exchanged or cut off", Args: cobra.MaximumNArgs(1),
		Long: `Walks the trail from its beginning, or from where it was pruned, and names the
first entry that is not as it was written. With a FILE (- is standard input) it
checks what provost audit export wrote, and asks no database.

Whoever may write to the database could write the whole trail anew. So keep the
place that is printed somewhere else, and give it next time with --expect: the
trail must still have it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var kept host.AuditLink
			if expect != "" {
				var err error
				if kept, err = host.ParseAuditLink(expect); err != nil {
					return &host.Error{Code: host.Usage, Message: "--expect: " + err.Error(), Err: err}
				}
			}
			if len(args) == 1 {
				if err := checkFormat(s.output); err != nil {
					return err
				}
				file, err := openFileOrStdin(args[0], cmd.InOrStdin())
				if err != nil {
					return err
				}
				defer func() { _ = file.Close() }() // it was only read
				v, err := verifyExport(file, kept)
				if err != nil {
					return err
				}
				return s.showVerification(cmd.OutOrStdout(), v)
			}
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				var v host.AuditVerification
				if err := c.do(ctx, http.MethodGet, "/api/v1/audit/verify", url.Values{"expect": {expect}}, nil, &v); err != nil {
					return err
				}
				return s.showVerification(cmd.OutOrStdout(), v)
			})
		},
	}
	cmd.Flags().StringVar(&expect, "expect", "", "a place that must be in the trail: NUMBER:HASH or HASH, as it was printed before")
	return cmd
}

func (s *session) showVerification(w io.Writer, v host.AuditVerification) error {
	var failed error
	if v.Broken != 0 || v.Problem != "" {
		failed = host.Errorf(host.Conflict, "the audit trail is not as it was written: entry %d: %s", v.Broken, v.Problem)
	}
	if s.output != "table" {
		return errors.Join(term.Write(w, s.output, v, nil, nil), failed)
	}
	behind := ""
	if v.Anchor.Number > 0 {
		behind = fmt.Sprintf(", behind %s", v.Anchor)
	}
	fmt.Fprintf(w, "%d entries are as they were written%s\n", v.Entries, behind)
	if failed == nil && v.Head.Number > 0 {
		fmt.Fprintf(w, "keep this elsewhere   -> provost audit verify --expect %s\n", v.Head)
	}
	return failed
}

// longestAuditLine is more than an entry can have.
const longestAuditLine = 1 << 20

// verifyExport checks exported lines, which may begin anywhere. Its error says
// that they can't be read at all.
func verifyExport(in io.Reader, expect host.AuditLink) (v host.AuditVerification, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestAuditLine)
	found := expect.Hash == ""
	for n := 1; lines.Scan(); n++ {
		text, hash, err := host.ParseAuditLine(bytes.TrimSuffix(lines.Bytes(), []byte("\r")))
		if err != nil {
			return v, host.Errorf(host.InvalidInput, "line %d: %w", n, err)
		}
		if n == 1 {
			var first host.AuditEntry
			if json.Unmarshal(text, &first) != nil || first.Number < 1 {
				return v, host.Errorf(host.InvalidInput, "line 1 is no entry of an audit trail")
			}
			v.Anchor = host.AuditLink{Number: first.Number - 1, Hash: first.PreviousHash}
			v.Head, found = v.Anchor, found || expect.Hash == v.Anchor.Hash
		}
		_, at, err := v.Head.Follow(text, hash)
		var broken *host.AuditBreak
		if errors.As(err, &broken) {
			v.Broken, v.Problem = broken.Number, broken.Why
			return v, nil
		}
		v.Entries, v.Head, found = v.Entries+1, at, found || expect.Hash == at.Hash
	}
	if err := lines.Err(); err != nil {
		return v, host.Errorf(host.InvalidInput, "the file can't be read: %w", err)
	}
	if !found {
		v.Broken, v.Problem = v.Head.Number, "the file ends here, and has no entry of the hash that was expected"
	}
	return v, nil
}

func newAuditExport(s *session) *cobra.Command {
	var out, action string
	var after int64
	cmd := &cobra.Command{
		Use: "export", Short: "Write the trail as JSON Lines, the oldest first", Args: cobra.NoArgs,
		Long: `Writes the trail as JSON Lines, the oldest first. The hash of a line is the
SHA-256 of the line without it: cut off ,"hash":"…" and keep the last brace.
provost audit verify FILE checks all of them.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				q := url.Values{"action": {action}, "after": {strconv.FormatInt(after, 10)}}
				answer, err := c.send(ctx, http.MethodGet, "/api/v1/audit/export", q, "application/json", nil)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				w := cmd.OutOrStdout()
				var file *os.File
				if out != "" {
					if file, err = os.CreateTemp(filepath.Dir(out), ".audit-*"); err != nil {
						return host.Errorf(host.InvalidInput, "%w", err)
					}
					defer func() { _ = os.Remove(file.Name()) }() // gone once it is renamed
					w = file
				}
				_, err = io.Copy(w, answer.Body)
				if err != nil {
					err = host.Errorf(host.Unavailable, "the trail was cut off; what was written is not all of it: %w", err)
				}
				if file != nil {
					err = errors.Join(err, file.Sync(), file.Close())
					if err == nil {
						err = os.Rename(file.Name(), out)
					}
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write it into this file, whole or not at all (default: standard output)")
	cmd.Flags().StringVar(&action, "action", "", "only this action, or all of a noun; what is left out can't be verified")
	cmd.Flags().Int64Var(&after, "after", 0, "only behind the entry of this number")
	return cmd
}
