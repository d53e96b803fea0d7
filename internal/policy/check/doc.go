// Package check evaluates policies over what does not exist yet: the resources of
// an ARM template, of a Terraform plan, or of documents in a folder, so that a pull
// request learns what the cloud would say.
//
//   - Read finds the documents in files, each with the place that it comes from and
//     what of it is not known yet.
//   - Load reads definitions, initiatives, assignments and exemptions, from files
//     and from what a server answered. What nothing assigns counts as assigned
//     everywhere, with its defaults.
//   - Rules.Check gives findings. Nothing passes silently: where an unknown value
//     decides, the finding says which field.
//   - Write renders them: table, JSON, SARIF, JUnit.
//
// Rules are kept in a store in memory, so that package assignment decides which
// policies hold where, exactly as it does for the control plane. It talks to no
// server and knows no clock. The CLI imports it.
package check
