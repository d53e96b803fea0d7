// Package golden is Hallmark's own initiative: policies about golden images, in plain
// policy JSON, in the layout of Azure/azure-policy, with their tests beside them. It is
// data; the command line imports it like any other folder of definitions.
package golden

import (
	"embed"
	"io/fs"
)

// The initiatives: Images reads the read-only aliases Hallmark.Image/*, Azure is what
// Azure can evaluate by itself.
const (
	Images = "golden-images"
	Azure  = "golden-images-azure"
)

//go:embed policies/policyDefinitions/*.json policies/policySetDefinitions/*.json
var files embed.FS

// Files are policyDefinitions/NAME.json and policySetDefinitions/NAME.json. Initiatives
// name their definitions as if they stood at the tenant; whoever imports them somewhere
// else moves the references.
func Files() fs.FS {
	sub, err := fs.Sub(files, "policies")
	if err != nil {
		panic(err) // a constant path that the compiler has embedded
	}
	return sub
}
