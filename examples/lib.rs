//! Programs that embed Cardinal; see the files beside this one.
