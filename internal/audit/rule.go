package audit

import "regexp"

// RuleName is the name under which scanners publish the well-known rule.
const RuleName = "Approved Azure Machine Image in Use"

// RuleResult is what that rule says, and why it differs from us where it does.
type RuleResult struct {
	Pass        bool   `json:"pass"`
	Explanation string `json:"explanation"`
}

var managedImageID = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/images/[^/]+$`)

// approvedMachineImage applies the rule as published: a virtual machine passes
// only if storageProfile.imageReference.id is a managed image's id.
func approvedMachineImage(imageID string, ours Verdict) *RuleResult {
	pass := managedImageID.MatchString(imageID)
	result := &RuleResult{Pass: pass}
	switch {
	case pass && ours == Compliant:
		result.Explanation = "imageReference.id is a managed image's id"
	case pass:
		result.Explanation = "passes because imageReference.id has the shape of a managed image's id, which says nothing about who made the image or whether it was tested"
	case ours == Compliant:
		result.Explanation = "fails because imageReference.id is not a managed image's id; images from a gallery never pass this rule"
	case imageID == "":
		result.Explanation = "fails because there is no imageReference.id"
	default:
		result.Explanation = "fails because imageReference.id is not a managed image's id"
	}
	return result
}
