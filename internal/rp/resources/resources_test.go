package resources_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions/v2"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
)

// thing is a type to fill groups with.
func thing(t provider.ResourceType) provider.Provider {
	t.Type, t.Scopes, t.APIVersions, t.Tags, t.Location = "Test.Things/things", provider.AtResourceGroup, []string{"2024-01-01"}, true, provider.LocationOptional
	return provider.Provider{Types: []provider.ResourceType{t, {Type: "Test.Things/things/parts", APIVersions: []string{"2024-01-01"}}}}
}

var fast = &runtime.PollUntilDoneOptions{Frequency: time.Millisecond}

func groups(t *testing.T, s *providertest.Server, cred azcore.TokenCredential) *armresources.ResourceGroupsClient {
	t.Helper()
	c, err := armresources.NewResourceGroupsClient(providertest.Subscription, cred, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The SDK signs in at the token endpoint with a secret, as a user's program would.
func TestSDKSignsInAndManagesGroups(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	cred, err := azidentity.NewClientSecretCredential("adfs", s.AppID, s.Secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: s.Options.ClientOptions, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	// The authority host is the server; the tenant "adfs" makes the path.
	c := groups(t, s, cred)
	ctx := t.Context()
	made, err := c.CreateOrUpdate(ctx, "web", armresources.ResourceGroup{Location: to.Ptr("Local"), Tags: map[string]*string{"team": to.Ptr("Blue")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := armresources.ResourceGroup{
		ID: to.Ptr("/subscriptions/" + providertest.Subscription + "/resourceGroups/web"), Name: to.Ptr("web"), Type: to.Ptr("Microsoft.Resources/resourceGroups"),
		Location: to.Ptr("local"), Tags: map[string]*string{"team": to.Ptr("Blue")}, Properties: made.Properties, SystemData: made.SystemData,
	}
	if diff := cmp.Diff(want, made.ResourceGroup); diff != "" {
		t.Errorf("created (-want +got)\n%s", diff)
	}
	there, err := c.CheckExistence(ctx, "WEB", nil)
	if err != nil || !there.Success {
		t.Errorf("exists: %v, %v", there.Success, err)
	}
	if gone, err := c.CheckExistence(ctx, "nope", nil); err != nil || gone.Success {
		t.Errorf("nope exists: %v, %v", gone.Success, err)
	}
	if _, err := c.Get(ctx, "nope", nil); code(err) != "ResourceGroupNotFound" {
		t.Errorf("get nope: %v", err)
	}
	s.Settle(t)
	if _, err := c.Update(ctx, "web", armresources.ResourceGroupPatchable{Tags: map[string]*string{"cost": to.Ptr("1")}}, nil); err != nil {
		t.Error(err)
	}
	var names []string
	for p := c.NewListPager(&armresources.ResourceGroupsClientListOptions{Top: to.Ptr[int32](1)}); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Value {
			names = append(names, *g.Name)
		}
	}
	if diff := cmp.Diff([]string{"rg", "web"}, names); diff != "" {
		t.Errorf("list, a page each (-want +got)\n%s", diff)
	}
}

// await polls a long-running operation to its end.
func await[T any](p *runtime.Poller[T], err error) error {
	if err != nil {
		return err
	}
	_, err = p.PollUntilDone(context.Background(), fast)
	return err
}

func code(err error) string {
	var re *azcore.ResponseError
	if errors.As(err, &re) {
		return re.ErrorCode
	}
	return ""
}

func TestDeletingAGroupDeletesWhatIsInIt(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	ctx := t.Context()
	id := providertest.Group().Resource("Test.Things/things", "t1")
	for _, id := range []arm.ID{id, id.Child("parts", "p1")} {
		if _, err := s.Client.Put(ctx, id, map[string]any{}); err != nil {
			t.Fatal(err)
		}
	}
	c := groups(t, s, s.Credential)
	poller, err := c.BeginDelete(ctx, providertest.ResourceGroup, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poller.PollUntilDone(ctx, fast); err != nil {
		t.Fatal(err)
	}
	docs, err := store.List(ctx, s.Store, store.Query{ResourceGroup: providertest.ResourceGroup})
	if err != nil || len(docs) != 0 {
		t.Errorf("left: %v, %v", docs, err)
	}
	if err := s.Client.Delete(ctx, providertest.Group()); !arm.IsNotFound(err) {
		t.Errorf("deleting it again: %v", err)
	}
}

func TestAGroupThatCannotBeEmptiedStays(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{
		CheckDelete: func(_ store.Tx, w *provider.Write) error {
			return arm.Conflict("InUse", w.ID.String(), "It is in use.")
		}})))
	ctx := t.Context()
	if _, err := s.Client.Put(ctx, providertest.Group().Resource("Test.Things/things", "t1"), map[string]any{}); err != nil {
		t.Fatal(err)
	}
	poller, err := groups(t, s, s.Credential).BeginDelete(ctx, providertest.ResourceGroup, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poller.PollUntilDone(ctx, fast); code(err) != "ResourceGroupDeletionBlocked" {
		t.Errorf("got %v", err)
	}
	raw, err := s.Client.Get(ctx, providertest.Group())
	if arm.GetString(raw, "properties.provisioningState") != "Succeeded" {
		t.Errorf("the group is %s, %v", raw, err)
	}
}

func TestSubscriptionsLocationsAndResources(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	ctx := t.Context()
	subs, err := armsubscriptions.NewClient(s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	page, err := subs.NewListPager(nil).NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].SubscriptionID != providertest.Subscription || *page.Value[0].State != armsubscriptions.SubscriptionStateEnabled {
		t.Fatalf("subscriptions: %+v, %v", page.Value, err)
	}
	locs, err := subs.NewListLocationsPager(providertest.Subscription, nil).NextPage(ctx)
	if err != nil || len(locs.Value) != 2 || *locs.Value[0].Name != providertest.Location {
		t.Errorf("locations: %+v, %v", locs.Value, err)
	}
	put(t, s, "a", `{"location":"local","tags":{"team":"Blue"},"properties":{"x":1}}`)
	put(t, s, "b", `{"location":"north","tags":{"Team":"blue"}}`)
	all, err := armresources.NewClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string][]string{
		"":                         {"a", "b"},
		"resourceGroup eq 'RG'":    {"a", "b"},
		"resourceGroup eq 'other'": nil,
		"resourceType eq 'test.things/THINGS' and location eq 'North'": {"b"},
		"tagName eq 'team' and tagValue eq 'Blue'":                     {"a"},
		"substringof('B', name)":                                       {"b"},
		"name ne 'a'":                                                  {"b"},
	} {
		var got []string
		for p := all.NewListPager(&armresources.ClientListOptions{Filter: to.Ptr(filter)}); p.More(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatalf("%s: %v", filter, err)
			}
			for _, r := range page.Value {
				got = append(got, *r.Name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", filter, diff)
		}
	}
	got, err := all.GetByID(ctx, thingID("a").String(), "2024-01-01", nil)
	if err != nil || *got.Name != "a" {
		t.Errorf("by id: %+v, %v", got, err)
	}
	providers, err := armresources.NewProvidersClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	p, err := providers.Get(ctx, "test.things", nil)
	if err != nil || len(p.ResourceTypes) != 2 || *p.ResourceTypes[0].ResourceType != "things" || *p.ResourceTypes[0].APIVersions[0] != "2024-01-01" {
		t.Errorf("provider: %+v, %v", p, err)
	}
}

func thingID(name string) arm.ID { return providertest.Group().Resource("Test.Things/things", name) }

func put(t *testing.T, s *providertest.Server, name, body string) {
	t.Helper()
	status, _, answer := s.Do(t, "PUT", thingID(name).String()+"?api-version=2024-01-01", body)
	if status != http.StatusCreated {
		t.Fatalf("PUT %s: %d %s", name, status, answer)
	}
}

func TestTags(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	put(t, s, "a", `{"tags":{"One":"1","two":"2"}}`)
	c, err := armresources.NewTagsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	scope := thingID("a").String()
	patch := func(op armresources.TagsPatchOperation, tags map[string]*string) armresources.TagsPatchResource {
		return armresources.TagsPatchResource{Operation: to.Ptr(op), Properties: &armresources.Tags{Tags: tags}}
	}
	check := func(what string, want map[string]string, err error) {
		t.Helper()
		raw, gerr := s.Client.Get(ctx, thingID("a"))
		var r struct{ Tags map[string]string }
		if err := errors.Join(err, gerr, json.Unmarshal(raw, &r)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, r.Tags); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	err = await(c.BeginUpdateAtScope(ctx, scope, patch(armresources.TagsPatchOperationMerge, map[string]*string{"three": to.Ptr("3")}), nil))
	check("merge", map[string]string{"One": "1", "two": "2", "three": "3"}, err)
	err = await(c.BeginUpdateAtScope(ctx, scope, patch(armresources.TagsPatchOperationDelete, map[string]*string{"ONE": to.Ptr("")}), nil))
	check("delete", map[string]string{"two": "2", "three": "3"}, err)
	err = await(c.BeginCreateOrUpdateAtScope(ctx, scope, armresources.TagsResource{Properties: &armresources.Tags{Tags: map[string]*string{"four": to.Ptr("4")}}}, nil))
	check("replace", map[string]string{"four": "4"}, err)
	got, err := c.GetAtScope(ctx, scope, nil)
	if err != nil || *got.Properties.Tags["four"] != "4" {
		t.Errorf("get: %+v, %v", got, err)
	}
	err = await(c.BeginDeleteAtScope(ctx, scope, nil))
	check("delete all", map[string]string{}, err)
}

func TestReaderOfOneGroupSeesOnlyThat(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	put(t, s, "a", `{}`)
	other := arm.ResourceGroupID(providertest.Subscription, "other")
	if _, err := s.Client.Put(t.Context(), other, map[string]string{"location": "local"}); err != nil {
		t.Fatal(err)
	}
	token, _ := s.TokenFor(t, rbac.Reader, providertest.Group())
	sub := "/subscriptions/" + providertest.Subscription
	for path, want := range map[string]int{sub + "/resourcegroups": 1, sub + "/resources": 1, "/subscriptions": 1} {
		status, _, body := s.DoAs(t, token, "GET", providertest.Query(path, "2021-04-01"), nil)
		var list struct{ Value []json.RawMessage }
		if err := json.Unmarshal(body, &list); err != nil || status != 200 || len(list.Value) != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, c := range []struct{ method, path string }{
		{"GET", other.String()}, {"PUT", thingID("a").String()}, {"DELETE", thingID("a").String()}, {"DELETE", providertest.Group().String()},
	} {
		status, _, body := s.DoAs(t, token, c.method, providertest.Query(c.path, "2021-04-01"), `{"location":"local"}`)
		if status != 403 {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, body)
		}
	}
	nobody, _ := s.TokenFor(t, "", arm.Tenant)
	if status, _, body := s.DoAs(t, nobody, "GET", providertest.Query("/subscriptions", "2021-04-01"), nil); status != 200 || string(body) != `{"value":[]}` {
		t.Errorf("without a role: %d %s", status, body)
	}
}

func TestScenarios(t *testing.T) {
	providertest.Scenarios(t, "testdata/*.txtar", func(t *testing.T) *providertest.Server {
		return providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	})
}
