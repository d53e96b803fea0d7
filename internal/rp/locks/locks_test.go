package locks_test

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armlocks"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/locks"
)

const version = "2024-01-01"

// things have a controller that writes about them, and actions of both kinds.
func things() provider.Provider {
	answer := func(context.Context, *provider.Write) (any, error) { return map[string]bool{"done": true}, nil }
	return provider.Provider{Types: []provider.ResourceType{{
		Type: "Test.Things/things", Scopes: provider.AtResourceGroup, APIVersions: []string{version}, Tags: true, Location: provider.LocationOptional, CascadeDelete: true,
		Actions: []provider.Action{{Name: "poke", Apply: answer}, {Name: "peek", Method: "GET", Apply: answer}},
	}, {Type: "Test.Things/things/parts", APIVersions: []string{version}}, {
		Type: "Test.Things/slow", Scopes: provider.AtResourceGroup, APIVersions: []string{version},
		Reconcile: func(ctx context.Context, w *provider.Work) (time.Duration, error) {
			return 0, w.Update(ctx, func(d *provider.Draft) { d.Set("properties.seen", true); d.Succeed() })
		},
	}}}
}

func start(t *testing.T, options ...providertest.Option) *providertest.Server {
	return providertest.Start(t, append(options, providertest.With(things(), locks.New()))...)
}

func TestScenarios(t *testing.T) {
	providertest.Scenarios(t, "testdata/*.txtar", func(t *testing.T) *providertest.Server { return start(t) })
}

// What a controller writes about its own resource is not held up by a lock.
func TestControllersAreExempt(t *testing.T) {
	s := start(t, providertest.WithoutControllers())
	id := providertest.Group().Resource("Test.Things/slow", "s")
	if _, err := s.Client.Put(t.Context(), id, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client.Put(t.Context(), providertest.Group().Resource(locks.Type, "ro"), lock("ReadOnly")); err != nil {
		t.Fatal(err)
	}
	providertest.RunToRest(t, s)
	raw, err := s.Client.Get(t.Context(), id)
	if err != nil || arm.GetString(raw, "properties.provisioningState") != "Succeeded" {
		t.Errorf("%s, %v", raw, err)
	}
	if _, err := s.Pipeline.Runtime().Client.Patch(t.Context(), id, map[string]any{"properties": map[string]any{"x": 1}}); err != nil {
		t.Errorf("the control plane itself: %v", err)
	}
}

func lock(level string) map[string]any {
	return map[string]any{"properties": map[string]string{"level": level}}
}

func TestTheSDKsLocksClient(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	c, err := armlocks.NewManagementLocksClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	params := armlocks.ManagementLockObject{Properties: &armlocks.ManagementLockProperties{Level: to.Ptr(armlocks.LockLevelCanNotDelete), Notes: to.Ptr("n")}}
	made, err := c.CreateOrUpdateAtResourceGroupLevel(ctx, "RG", "keep", params, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := providertest.Group().Resource(locks.Type, "keep").String()
	if diff := cmp.Diff(want, *made.ID); diff != "" {
		t.Error(diff)
	}
	if _, err := c.CreateOrUpdateByScope(ctx, "subscriptions/"+providertest.Subscription, "all", params, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetAtResourceGroupLevel(ctx, "rg", "KEEP", nil); err != nil || *got.Properties.Level != armlocks.LockLevelCanNotDelete {
		t.Errorf("%+v, %v", got, err)
	}
	var names []string
	for p := c.NewListAtSubscriptionLevelPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Value {
			names = append(names, *l.Name)
		}
	}
	if diff := cmp.Diff([]string{"all", "keep"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := c.DeleteAtSubscriptionLevel(ctx, "all", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteByScope(ctx, providertest.Group().String()[1:], "keep", nil); err != nil {
		t.Error(err)
	}
}
