// Package tfplan turns a Terraform plan, as `terraform show -json` prints it, into
// the ARM documents that it would create or change: machines, scale sets, disks,
// images and galleries of the azurerm provider, and whatever azapi names.
//
// What the plan knows only after it was applied is named by its path in the ARM
// document, and so is what the plan marks as sensitive: neither is guessed. What
// it cannot translate is listed, resources and attributes alike.
//
// It is pure: it reads no files and asks no provider. [Locate] finds a resource in
// the text of a configuration file. Package policy/check imports it.
package tfplan
