// Package expr is the expression language of Azure Resource Manager templates:
// "[concat('a', parameters('b'))]". A text is parsed once (Parse), compiled
// against a host (Compile) and evaluated any number of times, from any number of
// goroutines (Program.Eval). One table, Functions, knows every function of the
// three languages that use these expressions, and says which of them may call
// it: Azure Policy, ARM deployments, and DSC v3 configuration documents.
//
// It knows nothing of resources, clocks or files: what an expression may see is
// handed to it by a Host. Package policy, the deployments provider and the DSC
// engine may import it.
package expr
