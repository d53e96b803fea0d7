// Package lineage says which image a machine, a scale set or a disk came from,
// and in which one state that image is: a pure function of ARM documents, the
// same for our own control plane, for Azure, and for files that the Azure CLI
// has printed.
//
// [Read] turns a document into plain values, a [Catalog] holds what is known
// of galleries, images and disks, and [Catalog.Resolve] answers. What a
// gallery version's state depends on beyond Azure's own properties travels as
// tags on the version (the Tag constants), so that it holds wherever the
// gallery is read. The table of states is docs/audit.md, which is also the
// test.
//
// It fetches nothing and knows no clock. Audit, compliance and the pipeline
// import it.
package lineage
