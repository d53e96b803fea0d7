package clients_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v4"

	"hallmark.dev/hallmark/test/outside"
)

// sdk is one control plane and azure-sdk-for-go's clients in front of it. What its parts
// make needs no machine; each part has a resource group of its own.
type sdk struct {
	*outside.Endpoint
}

const (
	here        = "eastus"
	elsewhere   = "westeurope"
	routeTables = "Microsoft.Network/routeTables"
	routesAPI   = "2023-11-01"
)

// TestAzureSDKs drives every client that docs/clients.md names, pollers and pagers
// included, against the running server: create, get, list, update, delete, and each
// operation of policy insights and management groups.
func TestAzureSDKs(t *testing.T) {
	plane := outside.NewWithoutBases(t, "127.0.0.1")
	plane.Up(t)
	s := &sdk{plane.Endpoint(t)}
	t.Run("clients", func(t *testing.T) {
		for _, part := range []struct {
			name string
			do   func(*testing.T)
		}{
			{"policy insights", s.policyInsights},
			{"remediations", s.remediations},
			{"management groups", s.groups},
			{"policy", s.policies},
			{"authorization", s.roles},
			{"subscriptions", s.subscriptions},
			{"resources", s.resources},
			{"deployments", s.deployments},
			{"resource graph", s.graph},
			{"compute", s.compute},
		} {
			t.Run(part.name, func(t *testing.T) {
				t.Parallel()
				part.do(t)
			})
		}
	})
	if t.Failed() {
		t.Logf("the server's log ends with\n%s", plane.LogEnd())
	}
}

// soon is the context of what must not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// finish polls an operation to its end.
func finish[R any](t *testing.T, p *runtime.Poller[R], err error) R {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.PollUntilDone(soon(t), &runtime.PollUntilDoneOptions{Frequency: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// good is the answer of a client, which must be no error.
func good[R any](t *testing.T) func(got R, err error) R {
	return func(got R, err error) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// drain is what all pages have, and how many pages there were.
func drain[R, T any](t *testing.T, p *runtime.Pager[R], items func(R) []T) (all []T, pages int) {
	t.Helper()
	for p.More() {
		page, err := p.NextPage(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		all, pages = append(all, items(page)...), pages+1
	}
	return all, pages
}

// refusal is the code of the error with which a client's request ended, "" without one.
func refusal(err error) string {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return e.ErrorCode
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// last is the last segment of an id, in lower case.
func last(id *string) string {
	if id == nil {
		return ""
	}
	return strings.ToLower((*id)[strings.LastIndexByte(*id, '/')+1:])
}

// group makes a resource group and returns its id.
func (s *sdk) group(t *testing.T, name string) string {
	t.Helper()
	c := good[*armresources.ResourceGroupsClient](t)(armresources.NewResourceGroupsClient(s.Subscription, s.Credential, s.Options))
	g := good[armresources.ResourceGroupsClientCreateOrUpdateResponse](t)(c.CreateOrUpdate(soon(t), name, armresources.ResourceGroup{Location: to.Ptr(here)}, nil))
	return *g.ID
}

// routes makes a resource that is only recorded, which takes no time.
func (s *sdk) routes(t *testing.T, group, name string, tags map[string]*string) (id string, err error) {
	t.Helper()
	id = group + "/providers/" + routeTables + "/" + name
	c := good[*armresources.Client](t)(armresources.NewClient(s.Subscription, s.Credential, s.Options))
	p, err := c.BeginCreateOrUpdateByID(soon(t), id, routesAPI, armresources.GenericResource{Location: to.Ptr(here), Tags: tags}, nil)
	if err == nil {
		finish(t, p, nil)
	}
	return id, err
}

// document is JSON as the clients take it.
func document(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
