//! Documents in, catalogs out.
