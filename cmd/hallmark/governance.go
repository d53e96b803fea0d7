package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/insights"
	"hallmark.dev/hallmark/internal/rp/locks"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/rp/policyinsights"
	"hallmark.dev/hallmark/internal/rp/resourcegraph"
)

// governance is what makes policies and what asks them.
type governance struct {
	providers []provider.Provider
	admitter  provider.Admitter
	engine    *compliance.Engine
}

// aliases are the public ones, and over them what was imported for this control plane.
func (s *server) aliases() (*alias.Table, error) {
	text, err := os.ReadFile(s.dir.Aliases())
	if errors.Is(err, fs.ErrNotExist) {
		return alias.Default(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the imported aliases: %w", err)
	}
	list, err := alias.Import(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; import the aliases again, or delete the file", s.dir.Aliases(), err)
	}
	return alias.Default().With(list...), nil
}

// openGovernance opens policy definitions and assignments, the admitter that asks
// them at the door, and the engine that evaluates what is there.
func (s *server) openGovernance(ctx context.Context) (governance, error) {
	tenant := s.people.TenantID()
	if err := managementgroups.EnsureRoot(ctx, s.store, tenant, time.Now()); err != nil {
		return governance{}, err
	}
	aliases, err := s.aliases()
	if err != nil {
		return governance{}, err
	}
	index := assignment.New(s.store, aliases)
	facts := compliance.ImageFacts{}
	engine := compliance.New(compliance.Config{Store: s.store, Index: index, Facts: facts, Log: s.log})
	return governance{
		providers: []provider.Provider{
			locks.New(),
			managementgroups.New(managementgroups.Config{TenantID: tenant}),
			authorization.New(authorization.Config{TenantID: tenant, Aliases: aliases}),
			policyinsights.New(policyinsights.Config{TenantID: tenant, Engine: engine, Index: index, Facts: facts, Actor: s.actsAs, Log: s.log}),
			insights.New(tenant),
			resourcegraph.New(resourcegraph.Config{TenantID: tenant, Engine: engine}),
		},
		admitter: admission.New(admission.Config{Store: s.store, Index: index, Facts: facts, Log: s.log}),
		engine:   engine,
	}, nil
}

// actsAs is whom an assignment acts as: its managed identity, and nobody else. An
// identity that is not there has no rights.
func (s *server) actsAs(ctx context.Context, a *assignment.Assignment) (identity.Principal, error) {
	p, err := s.people.OfResource(ctx, a.IdentityOf, a.Identity)
	if errors.Is(err, directory.ErrNotFound) {
		err = arm.Errorf(400, "PolicyAssignmentIdentityNotFound",
			"The managed identity of the policy assignment '%s' is not in the directory. Write the assignment again with an identity that is there (identity.type SystemAssigned makes one), and give it the roles that the policy names.", a.ID).At(a.ID.String())
	}
	return p, err
}
