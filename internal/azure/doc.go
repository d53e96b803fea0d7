// Package azure is a client of an Azure Resource Manager (ARM) endpoint, through
// azure-sdk-for-go's azcore: Azure itself, Hallmark's embedded control plane, or
// another Hallmark. Endpoint and credential are parameters; nothing here knows
// which of the three it talks to.
//
// It moves ARM documents as raw JSON, so that a field which this version does
// not know survives a read and a write. It is not a model of Azure's types, and
// holds no state. The pipeline and the command line import it; engines may not.
package azure
