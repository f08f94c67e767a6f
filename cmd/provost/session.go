package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
)

// session is what the commands share that speak to a host.
type session struct {
	config string
	output string
	// as is the user who says it; without, it is the person at the machine.
	as string
	// remote is the daemon that is spoken to in place of this machine's.
	remote remote
}

// actor is who says what a command sends.
func (s *session) actor() string {
	if s.as != "" {
		return s.as
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return host.Administrator(u.Username)
	}
	return host.Administrator(fmt.Sprintf("uid %d", os.Getuid()))
}

// add gives a command and those below it the flags of a session.
func (s *session) add(cmds ...*cobra.Command) []*cobra.Command {
	for _, c := range cmds {
		c.PersistentFlags().StringVarP(&s.config, "config", "c", "", "configuration file (default: PROVOST_CONFIG, else provost.yaml)")
		c.PersistentFlags().StringVarP(&s.output, "output", "o", "table", "table, json, yaml")
		s.remote.flags(c.PersistentFlags())
	}
	return cmds
}

// configFile is the file that a command works with.
func configFile(given string) string {
	if given != "" {
		return given
	}
	if v := os.Getenv("PROVOST_CONFIG"); v != "" {
		return v
	}
	return "provost.yaml"
}

// fileHere is the configuration's file for a command that works on files: those
// of this machine.
func (s *session) fileHere() (string, error) {
	if s.remote.address() != "" {
		return "", host.Errorf(host.Usage, "this works on files of this machine, not on another daemon; leave out --server and PROVOST_SERVER")
	}
	return configFile(s.config), nil
}

// with runs do with a client: of the daemon that runs, or of a host in this
// process, which ends when do returns and works no jobs: they wait for a
// daemon.
func (s *session) with(ctx context.Context, do func(context.Context, *client) error) error {
	return s.open(ctx, false, do)
}

// working is with for a command that waits for requests: a host in this
// process works them.
func (s *session) working(ctx context.Context, do func(context.Context, *client) error) error {
	return s.open(ctx, true, do)
}

func (s *session) open(ctx context.Context, work bool, with func(context.Context, *client) error) error {
	if err := checkFormat(s.output); err != nil {
		return err
	}
	if host.IsAdministrator(s.as) {
		return host.Errorf(host.Usage, "--as %s is no username; without --as you are the administrator", s.as)
	}
	if s.remote.address() != "" {
		if s.as != "" {
			return host.Errorf(host.Usage, "--as is for the machine itself; with --server it is the token that says who you are")
		}
		c, err := s.remote.client()
		if err != nil {
			return err
		}
		return errors.Join(with(ctx, c), c.close(ctx))
	}
	do := func(ctx context.Context, c *client) error {
		c.actor = s.actor()
		return with(ctx, c)
	}
	file := configFile(s.config)
	if _, err := os.Stat(file); err != nil {
		return missingConfig(file)
	}
	cfg, err := config.Load(file)
	if err != nil {
		// The daemon goes on with what it has, and so can be spoken to.
		if c, ok := socketClient(config.Socket(file)); ok {
			return errors.Join(do(ctx, c), c.close(ctx))
		}
		return err
	}
	if c, ok := socketClient(cfg.Listen.Socket); ok {
		return errors.Join(do(ctx, c), c.close(ctx))
	}
	d, err := openDaemon(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if !work {
		return errors.Join(do(ctx, inProcessClient(d)), d.close(context.WithoutCancel(ctx)))
	}
	if err := d.start(ctx); err != nil {
		return errors.Join(err, d.close(ctx))
	}
	err = do(ctx, inProcessClient(d))
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return errors.Join(err, d.stop(stop), d.close(stop))
}
