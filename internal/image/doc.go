// Package image is what Hallmark knows about making an image: the recipe and
// the Image Builder template it mirrors, the plan of steps that a recipe
// stands for, gallery version arithmetic, the tattoo that is left inside an
// image, and the tests that a freshly booted machine has to pass.
//
// Everything here is a pure function of its arguments: no clock, no files, no
// network, no randomness. A caller asks a recipe which inputs it needs
// ([Recipe.Inputs]), fetches them, and hands the bytes back ([Recipe.Embed],
// [NewPlan]). What is planned here is carried out elsewhere.
//
// Field names are those of Azure Image Builder and Azure Compute Gallery;
// docs/recipe.md lists every field, and which ones are Hallmark's own.
//
// It may be imported by lineage, build, audit and the resource providers; it
// imports none of them.
package image
