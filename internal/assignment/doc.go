// Package assignment is the one place that knows which policies are effective at a
// scope: it reads assignments, definitions, initiatives, exemptions and management
// groups from the store, compiles the rules, and answers, for one resource, with
// the units (an assignment's rules) that look at it and with the exemptions that
// hold for it.
//
// An Index keeps the compiled Set of the store's newest revision; a Set is
// immutable. Admission, compliance and what-if all ask here, so that they can never
// disagree. It makes no request, refuses none, and records no verdict. Packages
// admission and compliance and the providers of policy resources import it.
package assignment
