package arm

import (
	"regexp"
	"strings"
)

// ProvisioningState is properties.provisioningState. Succeeded, Failed and Canceled
// are terminal; anything else means that work is going on.
type ProvisioningState string

// The states that Hallmark writes.
const (
	StateCreating  ProvisioningState = "Creating"
	StateUpdating  ProvisioningState = "Updating"
	StateDeleting  ProvisioningState = "Deleting"
	StateAccepted  ProvisioningState = "Accepted"
	StateRunning   ProvisioningState = "Running"
	StateSucceeded ProvisioningState = "Succeeded"
	StateFailed    ProvisioningState = "Failed"
	StateCanceled  ProvisioningState = "Canceled"
)

// Terminal reports whether nothing is going on any more.
func (s ProvisioningState) Terminal() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCanceled
}

var apiVersion = regexp.MustCompile(`^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(-[a-z][a-z0-9.]*)?$`)

// ValidAPIVersion reports whether v is a dated version such as 2022-08-01 or
// 2020-07-01-preview.
func ValidAPIVersion(v string) bool { return apiVersion.MatchString(strings.ToLower(v)) }

// NormalLocation is a location as Azure stores it: "West Europe" is "westeurope".
func NormalLocation(l string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(l), " ", ""))
}
