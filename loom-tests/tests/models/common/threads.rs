//! The threads of a scene. Each ends before the scene does.

/// Starts a thread. If its handle is dropped, the thread is joined.
pub(crate) fn spawn<T: 'static>(work: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    JoinHandle(Some(loom::thread::spawn(work)))
}

/// The handle of a thread. A thread that outlived the scene would reach statics which loom has freed with the
/// scene: it passes or fails by what that memory holds by then.
pub(crate) struct JoinHandle<T>(Option<loom::thread::JoinHandle<T>>);

impl<T> JoinHandle<T> {
    pub(crate) fn join(mut self) -> std::thread::Result<T> {
        self.0.take().expect("a thread is joined once").join()
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // The threads of a failed scene cannot be joined.
        if let Some(handle) = self.0.take()
            && !std::thread::panicking()
        {
            let _ = handle.join();
        }
    }
}
