package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

// The api-versions that the command line speaks; Azure knows each of them.
const (
	apiResources = "2021-04-01"
	apiCompute   = "2024-07-01"
	apiGallery   = "2023-07-03"
	apiNetwork   = "2023-09-01"
	apiHallmark  = "2026-11-01"
)

// session is one command's conversation with an endpoint.
type session struct {
	*azure.Client
	Context
	app *App
}

// scope are the flags that say where a command acts.
type scope struct{ subscription, group string }

func (s *scope) register(c *cobra.Command) {
	c.Flags().StringVar(&s.subscription, "subscription", "", "the subscription's id (default: the context's)")
	c.Flags().StringVarP(&s.group, "resource-group", "g", "", "the resource group (default: the context's)")
}

func (a *App) open(s scope) (*session, error) {
	client, c, err := a.connect()
	if err != nil {
		return nil, err
	}
	if s.subscription != "" {
		c.Subscription = s.subscription
	}
	if s.group != "" {
		c.Group = s.group
	}
	if c.Subscription == "" {
		return nil, usage("no subscription: pass --subscription, or choose a context that has one")
	}
	return &session{Client: client, Context: c, app: a}, nil
}

func (s *session) subscriptionID() string { return "/subscriptions/" + s.Subscription }

func (s *session) groupID() string {
	return s.subscriptionID() + "/resourceGroups/" + url.PathEscape(s.Group)
}

// resource is the id of a resource in the group: its type and the names along
// its path, or, where name is an id already, that.
func (s *session) resource(resourceType string, names ...string) string {
	if strings.HasPrefix(names[0], "/subscriptions/") {
		return names[0]
	}
	namespace, types, _ := strings.Cut(resourceType, "/")
	id := s.groupID() + "/providers/" + namespace
	for i, part := range strings.Split(types, "/") {
		id += "/" + part + "/" + url.PathEscape(names[i])
	}
	return id
}

// list reads every page of a list.
func (s *session) list(ctx context.Context, path, apiVersion string, query url.Values) ([]json.RawMessage, error) {
	items := []json.RawMessage{}
	err := s.List(ctx, azure.Request{Path: path, APIVersion: apiVersion, Query: query}, func(item json.RawMessage) error {
		items = append(items, item)
		return nil
	})
	return items, err
}

// post runs an action and waits for it.
func (s *session) post(ctx context.Context, id, action, apiVersion string, body, into any) error {
	return s.DoAndWait(ctx, azure.Request{Method: "POST", Path: id + "/" + action, APIVersion: apiVersion, Body: body}, into)
}

// ensureGroup makes the resource group where it is missing.
func (s *session) ensureGroup(ctx context.Context) error {
	err := s.Get(ctx, s.groupID(), apiResources, nil)
	if !azure.IsNotFound(err) {
		return err
	}
	return s.Put(ctx, s.groupID(), apiResources, map[string]any{"location": s.Location}, nil)
}
