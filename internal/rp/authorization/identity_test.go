package authorization_test

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/managedidentity"
)

const (
	modifies = `{"properties":{"mode":"Indexed","parameters":{"effect":{"type":"String","defaultValue":"Modify","allowedValues":["Modify","Disabled"]}},
		"policyRule":{"if":{"field":"tags['a']","exists":false},"then":{"effect":"[parameters('effect')]","details":{"roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/4a9ae827-6dc8-4573-8ac7-8239d42aa03f"],
		"operations":[{"operation":"add","field":"tags['a']","value":"b"}]}}}}}`
	deploys = `{"properties":{"mode":"Indexed","parameters":{"effect":{"type":"String","defaultValue":"DeployIfNotExists"}},
		"policyRule":{"if":{"field":"type","equals":"Microsoft.Compute/disks"},"then":{"effect":"[parameters('effect')]","details":{"type":"Microsoft.Authorization/locks",
		"roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"],
		"deployment":{"properties":{"mode":"incremental","template":{"resources":[]}}}}}}}}`
)

func startWithIdentities(t *testing.T) *providertest.Server {
	t.Helper()
	s := providertest.Start(t, providertest.With(authorization.New(authorization.Config{TenantID: tenant}), managedidentity.New(managedidentity.Config{TenantID: tenant})))
	at := subscription() + "/providers/Microsoft.Authorization/"
	put(t, s, at+"policyDefinitions/modifies", modifies, 201)
	put(t, s, at+"policyDefinitions/deploys", deploys, 201)
	put(t, s, at+"policySetDefinitions/set", `{"properties":{"parameters":{"e":{"type":"String","defaultValue":"Disabled"}},"policyDefinitions":[
		{"policyDefinitionId":"`+at+`policyDefinitions/modifies","policyDefinitionReferenceId":"m","parameters":{"effect":{"value":"[parameters('e')]"}}}]}}`, 201)
	return s
}

// As in Azure, what could put something right is not assigned without somebody to do it.
func TestAssignmentsThatNeedAnIdentity(t *testing.T) {
	s := startWithIdentities(t)
	at := subscription() + "/providers/Microsoft.Authorization/"
	for name, test := range map[string]struct {
		what, more string
		refused    string // part of the message
	}{
		"modify":                    {"policyDefinitions/modifies", ``, "'Modify' policy definitions"},
		"modify that is disabled":   {"policyDefinitions/modifies", `,"parameters":{"effect":{"value":"Disabled"}}`, ""},
		"not enforced":              {"policyDefinitions/modifies", `,"enforcementMode":"DoNotEnforce"`, "'Modify' policy definitions"},
		"deploy":                    {"policyDefinitions/deploys", ``, "contain a deployment in the effect details"},
		"deploy that only audits":   {"policyDefinitions/deploys", `,"parameters":{"effect":{"value":"AuditIfNotExists"}}`, "contain a deployment in the effect details"},
		"an initiative":             {"policySetDefinitions/set", `,"parameters":{"e":{"value":"Modify"}}`, "'Modify' policy definitions"},
		"an initiative, disabled":   {"policySetDefinitions/set", ``, ""},
		"an initiative, overridden": {"policySetDefinitions/set", `,"overrides":[{"kind":"policyEffect","value":"Modify","selectors":[{"kind":"policyDefinitionReferenceId","in":["m"]}]}]`, "'Modify' policy definitions"},
	} {
		t.Run(name, func(t *testing.T) {
			id := at + "policyAssignments/" + strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
			body := `{"properties":{"policyDefinitionId":"` + at + test.what + `"` + test.more + `}}`
			if test.refused == "" {
				put(t, s, id, body, 201)
				return
			}
			if answer := put(t, s, id, body, 400); !strings.Contains(string(answer), `"ResourceIdentityRequired"`) || !strings.Contains(string(answer), test.refused) {
				t.Errorf("%s", answer)
			}
			put(t, s, id, strings.TrimSuffix(body, "}")+`,"location":"local","identity":{"type":"SystemAssigned"}}`, 201)
			put(t, s, id, body, 201) // without the property the identity stays
			put(t, s, id, strings.TrimSuffix(body, "}")+`,"identity":{"type":"None"}}`, 400)
		})
	}
}

func TestSDKUserAssignedIdentity(t *testing.T) {
	s := startWithIdentities(t)
	mine, other := providertest.Group().Resource(provider.TypeUserAssigned, "mine").String(), providertest.Group().Resource(provider.TypeUserAssigned, "other").String()
	principal := arm.GetString(put(t, s, mine, `{"location":"local"}`, 201), "properties.principalId")
	put(t, s, other, `{"location":"local"}`, 201)
	client, err := armpolicy.NewAssignmentsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	assign := func(kind armpolicy.ResourceIdentityType, ids ...string) (armpolicy.AssignmentsClientCreateResponse, error) {
		users := map[string]*armpolicy.UserAssignedIdentitiesValue{}
		for _, id := range ids {
			users[id] = &armpolicy.UserAssignedIdentitiesValue{}
		}
		return client.Create(t.Context(), strings.TrimPrefix(subscription(), "/"), "a", armpolicy.Assignment{Location: to.Ptr(providertest.Location),
			Identity:   &armpolicy.Identity{Type: to.Ptr(kind), UserAssignedIdentities: users},
			Properties: &armpolicy.AssignmentProperties{PolicyDefinitionID: to.Ptr(subscription() + "/providers/Microsoft.Authorization/policyDefinitions/modifies")}}, nil)
	}
	made, err := assign(armpolicy.ResourceIdentityTypeUserAssigned, mine)
	if err != nil {
		t.Fatal(err)
	}
	if u := made.Identity.UserAssignedIdentities[mine]; *made.Identity.Type != armpolicy.ResourceIdentityTypeUserAssigned || u == nil || *u.PrincipalID != principal || made.Identity.PrincipalID != nil {
		t.Errorf("%+v", made.Identity)
	}
	for want, try := range map[string]func() (armpolicy.AssignmentsClientCreateResponse, error){
		"InvalidIdentityType": func() (armpolicy.AssignmentsClientCreateResponse, error) {
			return assign("SystemAssigned, UserAssigned", mine)
		},
		"InvalidIdentityId": func() (armpolicy.AssignmentsClientCreateResponse, error) { return assign("UserAssigned", mine, other) },
		"ResourceNotFound":  func() (armpolicy.AssignmentsClientCreateResponse, error) { return assign("UserAssigned", other+"s") },
	} {
		if _, err := try(); code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// Whoever gives an identity to an assignment can have it act.
	token, _ := s.TokenFor(t, "Resource Policy Contributor", arm.Tenant)
	body := `{"location":"local","identity":{"type":"UserAssigned","userAssignedIdentities":{"` + other + `":{}}},"properties":{"policyDefinitionId":"` + subscription() + `/providers/Microsoft.Authorization/policyDefinitions/modifies"}}`
	status, _, answer := s.DoAs(t, token, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/b?api-version=2023-04-01", body)
	if status != 403 || !strings.Contains(string(answer), "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action") {
		t.Errorf("%d %s", status, answer)
	}
}
