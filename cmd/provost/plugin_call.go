package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// trialCall is one call that a person makes.
type trialCall struct {
	source, operation, input, config, credential, settings, output string
}

func newPluginCall() *cobra.Command {
	var t trialCall
	cmd := &cobra.Command{
		Use:   "call FILE OPERATION",
		Short: "Run one operation of a connector in the sandbox",
		Long: `Runs one operation of a connector and prints its output. What the call cost, its
HTTP requests and its log go to standard error. Without --config a connector
can reach nothing.`,
		Example: `  provost plugin call acme.wasm describe
  provost plugin call acme.wasm create --input @ada.json --config provost.yaml --credential Acme_SCIM
  echo '{"reconFilter":"active eq true"}' | provost plugin call builtin:scim reconcile --input - --config provost.yaml --credential Acme_SCIM`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return []string{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
			}
			ops := make([]string, len(pdk.Operations))
			for i, op := range pdk.Operations {
				ops[i] = string(op)
			}
			return ops, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t.source, t.operation = args[0], args[1]
			return t.run(cmd)
		},
	}
	cmd.Flags().StringVar(&t.input, "input", "", "JSON, @FILE, or - for standard input (default {})")
	cmd.Flags().StringVar(&t.config, "config", "", "configuration whose credentials the call may use, and whose settings and limits if it has the connector")
	cmd.Flags().StringVar(&t.credential, "credential", "", "named credential of the call")
	cmd.Flags().StringVar(&t.settings, "settings", "", "the connector's settings as JSON, or @FILE")
	addFormatFlag(cmd, &t.output)
	return cmd
}

func (t *trialCall) run(cmd *cobra.Command) error {
	if err := checkFormat(t.output); err != nil {
		return err
	}
	op := pdk.Operation(t.operation)
	if !slices.Contains(pdk.Operations, op) {
		return host.Errorf(host.Usage, "the contract has no operation %q; there is %s", t.operation, operationNames(pdk.Operations))
	}
	in, err := t.readInput(cmd.InOrStdin())
	if err != nil {
		return err
	}
	a, spec, cfg, err := t.get(cmd.Context())
	if err != nil {
		return err
	}
	var way connector.Egress
	if cfg != nil {
		out, err := openTrialEgress(cfg, in.NamedCredDevName)
		if err != nil {
			return err
		}
		defer out.Close()
		way = out
	}
	if t.settings != "" {
		b, err := argument("--settings", t.settings, cmd.InOrStdin())
		if err != nil {
			return err
		}
		spec.Settings = map[string]any{}
		if err := json.Unmarshal(b, &spec.Settings); err != nil {
			return host.Errorf(host.Usage, "--settings is no JSON object: %w", err)
		}
	}
	return withSandbox(cmd.Context(), func(sb *sandbox.Runtime) error {
		if op == pdk.OpDescribe {
			found, err := connector.Inspect(cmd.Context(), sb, spec.Name, spec.Wasm)
			if err == nil {
				err = a.Signature.Agrees(found.Description.Name, found.Description.Version)
			}
			if err != nil {
				return err
			}
			return t.show(cmd, found.Description, host.CallTrace{Connector: spec.Name, Operation: string(op)}, nil)
		}
		return t.call(cmd, connector.Options{Sandbox: sb, Egress: way}, spec, op, in)
	})
}

// get reads the connector, as the configuration demands it where that has it.
func (t *trialCall) get(ctx context.Context) (artifact.Artifact, connector.Spec, *config.Config, error) {
	var cfg *config.Config
	if t.config != "" {
		var err error
		if cfg, err = config.Load(t.config); err != nil {
			return artifact.Artifact{}, connector.Spec{}, nil, err
		}
		if p := findPlugin(cfg, t.source); p != nil {
			a, spec, err := configuredArtifact(ctx, newArtifacts(artifactCache(cfg), nil), cfg, *p)
			return a, spec, cfg, err
		}
	}
	a, err := trialArtifacts().Get(ctx, t.source, artifact.Options{})
	return a, artifactSpec(a, connector.Spec{Name: a.Name, Source: a.Source}), cfg, err
}

func (t *trialCall) call(cmd *cobra.Command, o connector.Options, spec connector.Spec, op pdk.Operation, in pdk.Input) (err error) {
	ctx := cmd.Context()
	catalogue := connector.New(o)
	defer func() {
		if closeErr := catalogue.Close(context.WithoutCancel(ctx)); err == nil {
			err = closeErr
		}
	}()
	if err := catalogue.Load(ctx, spec); err != nil {
		return err
	}
	k, release, err := catalogue.Acquire(ctx, spec.Name, "")
	if err != nil {
		return err
	}
	defer release()
	if in.Settings != nil {
		if err := k.CheckSettings(in.Settings); err != nil {
			return err
		}
	}
	var out any
	var trace host.CallTrace
	if op == pdk.OpDiscover {
		out, trace, err = k.Discover(ctx, in)
	} else {
		out, trace, err = k.Call(ctx, op, in)
	}
	return t.show(cmd, out, trace, err)
}

// readInput makes the input of the call. The operation need not be named.
func (t *trialCall) readInput(stdin io.Reader) (in pdk.Input, err error) {
	b := []byte("{}")
	if t.input != "" {
		if b, err = argument("--input", t.input, stdin); err != nil {
			return in, err
		}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil || fields == nil {
		return in, host.Errorf(host.InvalidInput, "--input is no JSON object: %s", orElse(err, "it is null"))
	}
	fields["operation"] = json.RawMessage(`"` + t.operation + `"`)
	if b, err = json.Marshal(fields); err != nil {
		return in, host.Errorf(host.InvalidInput, "--input: %w", err)
	}
	if in, err = pdk.DecodeInput(b); err != nil {
		return in, host.Errorf(host.InvalidInput, "--input: %s", pdkMessage(err))
	}
	if t.credential != "" {
		in.NamedCredDevName = t.credential
	}
	return in, nil
}

// argument is the value of a flag: itself, @FILE, or - for standard input.
func argument(flag, value string, stdin io.Reader) ([]byte, error) {
	var b []byte
	var err error
	if file, ok := strings.CutPrefix(value, "@"); ok {
		b, err = os.ReadFile(file)
	} else if value == "-" {
		b, err = io.ReadAll(stdin)
	} else {
		return []byte(value), nil
	}
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "%s: %w", flag, err)
	}
	return b, nil
}

// trialResult is the document of -o json.
type trialResult struct {
	Output any         `json:"output"`
	Usage  trialUsage  `json:"usage"`
	Logs   []string    `json:"logs"`
	Error  *trialError `json:"error"`
}

type trialUsage struct {
	Milliseconds     float64        `json:"milliseconds"`
	HTTPMilliseconds float64        `json:"httpMilliseconds"`
	MemoryBytes      int64          `json:"memoryBytes"`
	Fuel             int64          `json:"fuel"`
	HTTPCalls        int            `json:"httpCalls"`
	Callouts         []host.Callout `json:"callouts"`
}

type trialError struct {
	Type              host.Code `json:"type"`
	Message           string    `json:"message"`
	Attribute         string    `json:"attribute,omitempty"`
	Details           string    `json:"details,omitempty"`
	HTTPStatus        int       `json:"httpStatus,omitempty"`
	RetryAfterSeconds float64   `json:"retryAfterSeconds,omitempty"`
	Uncertain         bool      `json:"uncertain,omitempty"`
}

// show prints what came of the call and returns failure.
func (t *trialCall) show(cmd *cobra.Command, out any, trace host.CallTrace, failure error) error {
	if t.output != term.FormatTable {
		r := trialResult{Output: out, Logs: append([]string{}, trace.Logs...), Usage: trialUsage{
			Milliseconds: milliseconds(trace.Duration), HTTPMilliseconds: milliseconds(trace.HTTPDuration),
			MemoryBytes: trace.MemoryBytes, Fuel: trace.Fuel, HTTPCalls: len(trace.Callouts), Callouts: append([]host.Callout{}, trace.Callouts...),
		}}
		var e *host.Error
		if errors.As(failure, &e) {
			r.Output = nil
			r.Error = &trialError{Type: e.Code, Message: e.Message, Attribute: e.Field, Details: e.Details, HTTPStatus: e.HTTPStatus,
				RetryAfterSeconds: e.RetryAfter.Seconds(), Uncertain: e.Uncertain}
		}
		if err := term.Write(cmd.OutOrStdout(), t.output, r, nil, nil); err != nil {
			return err
		}
		return failure
	}
	if _, err := io.WriteString(cmd.ErrOrStderr(), traceText(trace, failure)); err != nil {
		return err
	}
	if failure != nil {
		return failure
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return host.Errorf(host.Internal, "the output can't be written as JSON: %w", err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
	return err
}

// traceText is what a call did, for people.
func traceText(trace host.CallTrace, failure error) string {
	var b strings.Builder
	for _, line := range trace.Logs {
		fmt.Fprintf(&b, "log   %s\n", oneLine(line))
	}
	for _, c := range trace.Callouts {
		result := fmt.Sprintf("%d in %s, %s", c.Status, durationText(c.Duration), bytesText(c.ResponseBytes))
		if c.Status == 0 {
			result = c.Error
		}
		fmt.Fprintf(&b, "http  %s %s  %s\n", oneLine(c.Method), oneLine(c.URL), oneLine(result))
	}
	if trace.Duration > 0 {
		fmt.Fprintf(&b, "cost  %s", durationText(trace.Duration))
		if trace.HTTPDuration > 0 {
			fmt.Fprintf(&b, " (%s of it HTTP)", durationText(trace.HTTPDuration))
		}
		fmt.Fprintf(&b, ", %s of fuel, %s of memory, %d HTTP calls\n", fuelText(trace.Fuel), bytesText(trace.MemoryBytes), len(trace.Callouts))
	}
	var e *host.Error
	if errors.As(failure, &e) {
		if e.Uncertain {
			b.WriteString("note  the target may have acted before this failed: look before you call again\n")
		}
		if e.RetryAfter > 0 {
			fmt.Fprintf(&b, "note  the target asks to wait %s\n", e.RetryAfter)
		}
	}
	return b.String()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func durationText(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", milliseconds(d))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// fuelText is an amount of fuel, in instructions.
func fuelText(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 10_000_000:
		return fmt.Sprintf("%.0f k", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.0f M", float64(n)/1e6)
	}
}

func operationNames(ops []pdk.Operation) string {
	parts := make([]string, len(ops))
	for i, op := range ops {
		parts[i] = string(op)
	}
	return strings.Join(parts, ", ")
}

// pdkMessage is the message of a contract error, without its type.
func pdkMessage(err error) string {
	var e *pdk.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

func orElse(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}
