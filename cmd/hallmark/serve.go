package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/cli"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/federation"
	"hallmark.dev/hallmark/internal/frontdoor"
	"hallmark.dev/hallmark/internal/graph"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/instance"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/gallery"
	"hallmark.dev/hallmark/internal/rp/managedidentity"
	"hallmark.dev/hallmark/internal/rp/recorded"
	"hallmark.dev/hallmark/internal/rp/resources"
	"hallmark.dev/hallmark/internal/rp/roles"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

func serveCommand(app *cli.App) *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use: "serve", Short: "Run the control plane in the foreground (hallmark up runs it in the background)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			dir, err := app.Dir()
			if err != nil {
				return err
			}
			return serve(ctx, dir, listen)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8443", "the address to listen on; port 0 picks a free one")
	return c
}

// serve runs until ctx ends.
func serve(ctx context.Context, dir instance.Dir, listen string) error {
	log := slog.New(correlation.Handler(slog.NewJSONHandler(os.Stderr, nil)))
	if err := dir.Make(); err != nil {
		return err
	}
	release, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer release()
	cfg, err := loadConfig(dir)
	if err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, dir.Database())
	if err != nil {
		return err
	}
	defer db.Close()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; choose another address with --listen", listen, err)
	}
	s := &server{dir: dir, cfg: cfg, store: db, log: log, listener: listener, url: "https://" + listener.Addr().String(), mounts: map[string]http.Handler{}}
	return s.run(ctx)
}

// lockPatience is how long a server that was just killed may hold its lock.
const lockPatience = 5 * time.Second

// lock locks the data directory. The lock of a killed server goes with the last
// of its threads and half-started children, which takes a moment.
func lock(ctx context.Context, dir instance.Dir) (release func() error, err error) {
	for begun := time.Now(); ; {
		release, err = dir.Lock()
		if !errors.Is(err, instance.ErrLocked) || time.Since(begun) > lockPatience {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// server is the control plane being put together.
type server struct {
	dir      instance.Dir
	cfg      config
	store    *sqlite.Store
	log      *slog.Logger
	listener net.Listener
	url      string

	people *directory.Directory
	access *access.Index
	issuer *identity.Issuer
	// tokens verifies those of our issuer and of the configured ones.
	tokens *federation.Verifier
	admin  directory.Principal
	// mounts are paths that are served beside the resources.
	mounts map[string]http.Handler

	images     *gallery.Engine
	compliance *compliance.Engine
	regions    []*region.Region
	artifacts  *artifact.Store
	network    *network.Network
}

func (s *server) run(ctx context.Context) error {
	if err := s.identities(ctx); err != nil {
		return err
	}
	if err := resources.EnsureSubscription(ctx, s.store, s.people.TenantID(), s.cfg.Subscription, "Hallmark", time.Now()); err != nil {
		return err
	}
	built, err := s.providers(ctx)
	if err != nil {
		return err
	}
	rules, err := s.openGovernance(ctx)
	if err != nil {
		return err
	}
	s.compliance = rules.engine
	identityTypes := managedidentity.New(managedidentity.Config{TenantID: s.people.TenantID()})
	roleTypes := roles.New(roles.Config{Index: s.access, Foreign: len(s.cfg.Issuers) > 0})
	all, err := withRecorded(slices.Concat(built, rules.providers, []provider.Provider{identityTypes, roleTypes}), s.cfg.RecordedTypes)
	if err != nil {
		return err
	}
	pipeline, err := provider.New(provider.Config{
		Store: s.store, Providers: all, Admitter: rules.admitter, Log: s.log, RetryAfter: 1,
		Authorizer: s.access, TenantID: s.people.TenantID(), Locations: s.locationNames(), Aliases: recorded.Aliases(alias.Default()),
	})
	if err != nil {
		return err
	}
	return s.serve(ctx, pipeline)
}

// serve answers and reconciles, until ctx ends or one of the two fails.
func (s *server) serve(ctx context.Context, pipeline *provider.Pipeline) error {
	host, _, _ := net.SplitHostPort(s.listener.Addr().String())
	certificate, err := frontdoor.Certificates(s.dir.TLS(), []string{host}, time.Now())
	if err != nil {
		return err
	}
	token, err := readOrMake(s.dir.MetricsToken())
	if err != nil {
		return err
	}
	s.mounts[graph.PathPrefix] = graph.New(graph.Config{Directory: s.people, Index: s.access, Log: s.log, Unauthorized: frontdoor.Unauthorized,
		Authenticate: func(r *http.Request) (identity.Principal, error) {
			return frontdoor.Authenticate(r, s.tokens.With(s.issuer.Graph()))
		}})
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	handler := frontdoor.New(frontdoor.Config{
		Pipeline: pipeline, Verifier: s.tokens, SignIn: frontdoor.SignIn{Directory: s.people, Issuer: s.issuer},
		Log: s.log, Metrics: metrics, MetricsToken: token, Mounts: s.mounts,
	})
	runner := controller.NewRunner(s.store, s.log, pipeline.Controllers())
	runner.Observe = controller.Metrics(metrics)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return frontdoor.Serve(ctx, s.listener, certificate, handler, s.log) })
	group.Go(func() error { return runner.Run(ctx) })
	group.Go(func() error { return s.serveMachines(ctx) })
	group.Go(func() error { return pipeline.Housekeeping(ctx) })
	group.Go(func() error { return s.compliance.Run(ctx) })
	group.Go(func() error { return s.sweepImages(ctx) })
	if err := s.dir.Announce(instance.Server{
		URL: s.url, Subscription: s.cfg.Subscription, TenantID: s.people.TenantID(), ClientID: s.admin.AppID,
		Location: s.cfg.Locations[0].Name, Version: version,
	}); err != nil {
		return err
	}
	defer s.dir.Withdraw()
	s.log.Info("serving", "url", s.url, "data", string(s.dir), "version", version)
	return group.Wait()
}

// adminName is the service principal that the command line on this machine
// signs in as.
const adminName = "hallmark-admin"

// identities opens the directory and makes sure that there is an
// administrator whose secret is in the data directory, for root only.
func (s *server) identities(ctx context.Context) error {
	var err error
	if s.people, err = directory.Open(s.store, s.dir.Keys()); err != nil {
		return err
	}
	if s.issuer, err = identity.OpenIssuer(s.dir.Keys(), s.people.TenantID(), nil); err != nil {
		return err
	}
	if s.tokens, err = federation.New(s.cfg.Issuers, s.issuer, s.people.Seen, nil); err != nil {
		return fmt.Errorf("%s: %w", s.dir.Config(), err)
	}
	s.access = access.New(s.store)
	if err := access.EnsureBuiltIns(ctx, s.store, time.Now()); err != nil {
		return err
	}
	if err := access.Import(ctx, s.store, s.dir.Keys(), time.Now()); err != nil {
		return err
	}
	all, err := s.people.Read(ctx)
	if err != nil {
		return err
	}
	for _, p := range all.Principals {
		// Names are anybody's; the first one is ours.
		if p.DisplayName == adminName && (s.admin.AppID == "" || p.Created.Before(s.admin.Created)) {
			s.admin = p
		}
	}
	if _, err := os.Stat(s.dir.AdminSecret()); s.admin.AppID != "" && err == nil {
		return nil
	}
	return s.makeAdmin(ctx)
}

// makeAdmin creates the administrator, or gives the one that is there another
// secret where its file is lost.
func (s *server) makeAdmin(ctx context.Context) error {
	var secret string
	var err error
	if s.admin.AppID == "" {
		s.admin, secret, err = s.people.Create(ctx, adminName, time.Now())
	} else {
		secret, _, err = s.people.AddSecret(ctx, s.admin.AppID, "", time.Now(), time.Time{})
	}
	if err != nil {
		return err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		return access.Give(tx, arm.Tenant, rbac.OwnerID, s.admin.ObjectID, directory.KindServicePrincipal, identity.System.ObjectID, time.Now())
	})
	if err != nil {
		return err
	}
	return writeSecret(s.dir.AdminSecret(), secret)
}

func writeSecret(path, secret string) error {
	if err := os.WriteFile(path+".new", []byte(secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// readOrMake reads a token from a file, or makes one.
func readOrMake(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(raw)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	token := make([]byte, 32)
	rand.Read(token)
	text := hex.EncodeToString(token)
	return text, writeSecret(path, text)
}

func (s *server) locationNames() []string {
	var names []string
	for _, l := range s.cfg.Locations {
		names = append(names, l.Name)
	}
	return names
}
