package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/host"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "provost",
		Short: "Keeps people's accounts in third-party apps in step with the users of an organisation",
	}
	s := &session{}
	root.AddCommand(newInitCommand(), newServeCommand(), newDemoCommand())
	root.AddCommand(s.add(newUserCommand(s), newAppCommand(s), newCredentialCommand(s), newRequestCommand(s),
		newReconcileCommand(s), newAccountCommand(s), newTargetCommand(s), newNoticeCommand(s), newSettingCommand(s), newSecretCommand(s), newPlanCommand(s), newRetentionCommand(s), newStatusCommand(s), newBackupCommand(s), newRestoreCommand(s), newDatabaseCommand(s), newAuditCommand(s), newDoctorCommand(s), newTokenCommand(s), newSessionCommand(s), newAdminCommand(s), newRoleCommand(s))...)
	root.AddCommand(newPluginCommand(s), newConfigCommand(s))
	root.AddCommand(newVersionCommand(), newMetricsCommand(), newCompileCommand(), newHealthCommand(), newSupportBundleCommand(), newManualCommand())
	return root
}

// execute runs the command that the arguments name. What fails before a
// command begins is wrong usage: an unknown command or flag, a missing
// argument, a flag that must be there.
func execute(ctx context.Context, root *cobra.Command) error {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	refuseUnknownTopics(root)
	began := false
	prepare(root, &began)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || began {
		return err
	}
	var e *host.Error
	if errors.As(err, &e) {
		return e
	}
	return host.Errorf(host.Usage, "%s   -> %s --help", strings.ReplaceAll(err.Error(), "\n", " "), cmd.CommandPath())
}

// refuseUnknownTopics makes help for a command that there is not wrong usage.
func refuseUnknownTopics(root *cobra.Command) {
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Run = nil
		help.RunE = func(_ *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return host.Errorf(host.Usage, "there is no command %q   -> provost --help", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		}
	}
}

// prepare makes every command below cmd note that it began, and a command that
// only groups others refuse a word that it does not know.
func prepare(cmd *cobra.Command, began *bool) {
	for _, sub := range cmd.Commands() {
		prepare(sub, began)
	}
	if !cmd.Runnable() && cmd.HasSubCommands() {
		cmd.SuggestionsMinimumDistance = 2
		cmd.Args = knownSubcommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return do(cmd, args)
		}
	}
}

func knownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean %q?", near[0])
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
}

// exitCode is what the process ends with.
func exitCode(err error) int { return host.CodeOf(err).ExitCode() }

// messageOf is the line that a person reads: what went wrong, with its type
// where the type says more than the words.
func messageOf(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n") // several are the problems of a configuration
	for i, line := range lines {
		lines[i] = strings.TrimRight(oneLine(line), " ")
	}
	text := strings.Join(lines, "\n")
	var e *host.Error
	if !errors.As(err, &e) || e.Code == host.Usage || e.Code == host.InvalidInput && len(lines) > 1 {
		return text
	}
	return string(e.Code) + ": " + text
}
