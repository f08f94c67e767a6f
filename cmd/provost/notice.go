package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

func newNoticeCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{Use: "notice", Short: "What a person must do or know, and who was told"}
	cmd.AddCommand(newNoticeList(s), newNoticeTest(s))
	return cmd
}

func newNoticeList(s *session) *cobra.Command {
	var over time.Duration
	cmd := &cobra.Command{
		Use: "list", Short: "List notices that last, and how people were told", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				query := url.Values{}
				if over > 0 {
					query.Set("since", time.Now().Add(-over).UTC().Format(time.RFC3339))
				}
				var list []api.Notice
				if err := c.do(ctx, http.MethodGet, "/api/v1/notices", query, nil, &list); err != nil {
					return err
				}
				rows := make([][]string, len(list))
				for i, n := range list {
					rows[i] = []string{string(n.Kind), n.Subject, countText(n.Waiting), sinceText(n), toldText(n), n.Text}
				}
				return term.Write(cmd.OutOrStdout(), s.output, list, []string{"KIND", "SUBJECT", "WAITING", "SINCE", "TOLD", "NOTICE"}, rows)
			})
		},
	}
	cmd.Flags().DurationVar(&over, "over", 0, "also those that were over within so long, such as 24h")
	return cmd
}

func sinceText(n api.Notice) string {
	switch {
	case n.Since.IsZero():
		return ""
	case n.Resolved != nil:
		return n.Since.Local().Format(time.DateTime) + ", over"
	default:
		return n.Since.Local().Format(time.DateTime)
	}
}

// toldText says over which channels people were told, and where not.
func toldText(n api.Notice) string {
	var parts []string
	for _, d := range n.Deliveries {
		last := host.NoticeRaised
		if n.Resolved != nil {
			last = host.NoticeResolved
		}
		if d.Event != last && d.State == host.DeliverySent {
			continue // what came after it says more
		}
		switch {
		case d.State == host.DeliverySent:
			parts = append(parts, d.Channel)
		case d.State == host.DeliveryGivenUp:
			parts = append(parts, d.Channel+" given up: "+shortened(d.LastError))
		case d.LastError != "":
			parts = append(parts, fmt.Sprintf("%s not yet (again at %s): %s", d.Channel, d.NextDate.Local().Format(time.TimeOnly), shortened(d.LastError)))
		default:
			parts = append(parts, d.Channel+" not yet")
		}
	}
	return strings.Join(parts, ", ")
}

// shortened is as much of an error as a table has room for; the other formats
// have all of it.
func shortened(text string) string {
	const most = 40
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

func newNoticeTest(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "test CHANNEL", Short: "Send a test notice over a channel of notify", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.with(cmd.Context(), func(ctx context.Context, c *client) error {
				if err := c.do(ctx, http.MethodPost, "/api/v1/channels/"+url.PathEscape(args[0])+"/test", nil, nil, nil); err != nil {
					return err
				}
				if s.output != "table" {
					return term.Write(cmd.OutOrStdout(), s.output, map[string]string{"channel": args[0], "state": string(host.DeliverySent)}, nil, nil)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s took the test notice\n", args[0])
				return nil
			})
		},
	}
}
