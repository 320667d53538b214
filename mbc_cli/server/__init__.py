"""A memory for other programs: OpenAI's interface and our own over HTTP, and a page for people.

config, keys        what the server is told: where, for whom, how much
guard, body         what is refused before anybody works on it
choice, worker      what is read for a question; one thread that answers questions together
service             what can be done with the memory
openai_*, memory_*  the forms of the two interfaces, and their addresses
failures, measures  what a failure looks like; what is counted
app, run            all of it as one application; the application as a process
page/               HTML, CSS and JavaScript as they are sent
"""
