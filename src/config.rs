//! Configuration as the rest of the program wants it: typed, checked, complete. Owns the list of
//! variables; flags, environment and `.env` are merged here and nowhere else.
